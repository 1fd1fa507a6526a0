"""One writer per results folder: an advisory lock that names its holder.

The lock is the kernel's (`flock`): a runner that dies releases it. The file that it leaves behind
does no harm; its text only says who holds the lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from fanin.atomic import to_output_error
from fanin.errors import StoreError, StoreLocked

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

# A reader that asks who holds the lock takes it for microseconds. That must not stop a writer.
_PATIENCE = 1.0


@dataclass(frozen=True)
class LockHolder:
    """The process that holds the lock of a results folder."""

    pid: int
    host: str
    started: str
    """Local time at which it took the lock, in ISO 8601."""

    def __str__(self) -> str:
        return (
            f"process {self.pid} on {self.host} (since {self.started})"
            if self.pid
            else "another process"
        )


_UNKNOWN_HOLDER = LockHolder(pid=0, host="", started="")


class Lock:
    """The lock, held from construction to `release`. Raises `StoreLocked` if another process
    holds it.
    """

    def __init__(self, path: Path) -> None:
        _require_fcntl()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise to_output_error(path, error) from None
        deadline = time.monotonic() + _PATIENCE
        while not _try_lock(self._descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = _read_holder(self._descriptor)
                os.close(self._descriptor)
                raise StoreLocked(
                    f"{path.parent} is in use by {holder}. Wait until it has finished, stop it, or "
                    "choose another --out."
                )
            time.sleep(0.02)
        self._sign()

    def release(self) -> None:
        """Release the lock. The file stays: if it were removed, two processes could each lock a
        file of that name.
        """
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _sign(self) -> None:
        import socket  # takes long, and readers need it not

        holder = LockHolder(
            pid=os.getpid(), host=socket.gethostname(), started=time.strftime("%Y-%m-%dT%H:%M:%S")
        )
        with contextlib.suppress(OSError):  # on a full disk the lock works, but names nobody
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(asdict(holder)).encode(), 0)


def find_holder(path: Path) -> LockHolder | None:
    """The process that holds the lock now; None if none does.

    Raises `StoreError` if this system or file system has no locks to ask.
    """
    _require_fcntl()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else _read_holder(descriptor)
    finally:
        os.close(descriptor)  # releases the lock, too


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"This file system has no advisory locks ({error.strerror}). Without them two runners "
            "could write one store. Choose an --out on a local disk."
        ) from None
    return True


def _read_holder(descriptor: int) -> LockHolder:
    try:
        record = json.loads(os.pread(descriptor, 4096, 0))
        return LockHolder(
            pid=int(record["pid"]), host=str(record["host"]), started=str(record["started"])
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return _UNKNOWN_HOLDER


def _require_fcntl() -> None:
    if fcntl is None:
        raise StoreError(
            "A results folder needs advisory file locks (fcntl), which this system lacks. Run "
            "fanin on Linux or macOS."
        )
