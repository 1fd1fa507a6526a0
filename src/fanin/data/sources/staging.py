"""Where files lie until they are whole and checked, and how they then appear under their names at
once.
"""

from __future__ import annotations

import contextlib
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
def open_workspace(folder: Path, waiting: Callable[[], None]) -> Iterator[Path]:
    """A new folder inside `folder`, which is made where it is missing; gone afterwards.

    Processes take turns where the file system has locks, `waiting` being called where another has
    its turn; what a killed one left behind is removed. Without locks two processes do their work
    twice, in workspaces of their own, which is harmless.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _take_turn(folder / _LOCK, waiting) as alone:
        if alone:
            for leftover in folder.glob(f"{_PREFIX}*/"):
                shutil.rmtree(leftover, ignore_errors=True)
        own = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=folder))
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


def write(file: Path, content: bytes) -> None:
    """Write and sync a file."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def publish(staged: Path, target: Path) -> None:
    """Move a whole, synced file of a workspace to its name, in one step that a crash cannot split."""
    staged.chmod(0o644)  # a private 0600 would hide a shared folder's data from its other readers
    staged.replace(target)
    with contextlib.suppress(OSError):  # some file systems do not sync folders
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _take_turn(lock: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock; False where there are no locks here."""
    with (
        lock.open("ab") as stream
    ):  # the file stays: removing it could part two processes that both believe they hold it
        yield fcntl is not None and _lock(stream.fileno(), waiting)


def _lock(descriptor: int, waiting: Callable[[], None]) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True
