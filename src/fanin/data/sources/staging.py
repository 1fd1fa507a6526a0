"""Where downloaded files are kept until they are complete and checked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_LOCK = ".fetching.lock"
_PREFIX = ".fetching-"


@contextmanager
def open_workspace(folder: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """A new folder inside `folder`, which is created if missing; removed at the end.

    Processes take turns if the file system supports locks; `on_wait` is called before waiting for
    another process. What a killed process left behind is removed. Without locks two processes do
    the same work twice, each in its own workspace, which is harmless.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _take_turn(folder / _LOCK, on_wait) as alone:
        if alone:
            for leftover in folder.glob(f"{_PREFIX}*/"):
                shutil.rmtree(leftover, ignore_errors=True)
        workspace = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=folder))
        try:
            yield workspace
        finally:
            shutil.rmtree(workspace, ignore_errors=True)


@contextmanager
def _take_turn(lock: Path, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock; False if the system has no locks.

    The lock file stays: after a removal two processes could both believe that they hold the lock.
    """
    with lock.open("ab") as stream:
        yield fcntl is not None and _lock(stream.fileno(), on_wait)


def _lock(descriptor: int, on_wait: Callable[[], None]) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True
