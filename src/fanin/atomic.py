"""Atomic writes: a file appears under its name whole, or not at all.

    write          text or a document to a path that a user may have chosen; raises fanin's errors
    replace        bytes to a path of our own
    copy           a large file, block by block
    publish        a file that was written elsewhere on the same file system

Each of them writes beside the target, syncs, moves the file into place and syncs the folder. A
reader, or the next process after a crash, sees the old file or the new one. Except for `write` they
raise OSError; `to_output_error` turns that into the error to show.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fanin.crash_points import pass_crash_point
from fanin.errors import OutputError, StoreFull

_COPY_BLOCK = 2**20
_MOST_LINKS = 40


def write(path: Path | str, content: str | bytes, *, create_parent: bool = False) -> Path:
    """Write a file that a user asked for; returns its path.

    Only a regular file is replaced. Anything else is written through, as any tool does: a device, a
    pipe, a descriptor of this process such as ``/dev/stdout``. Of a link its target is written.

    Args:
        path: the file.
        content: all of it. Text is written as UTF-8, lone surrogates as escapes.
        create_parent: create the folder if it is missing.

    Raises `StoreFull` or `OutputError`; the old file is then unchanged.
    """
    target = Path(path)
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    try:
        if create_parent:
            target.parent.mkdir(parents=True, exist_ok=True)
        _write_through(target, data)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise to_output_error(target, error) from None
    return target


def _write_through(target: Path, data: bytes) -> None:
    if (descriptor := _find_descriptor(target)) is not None:
        # Opened by its name, a file behind it would be cut off, and written from its beginning.
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(data)
        return
    file = Path(os.path.realpath(target))
    if not file.exists():
        replace(file, data)
    elif file.is_file():
        replace(file, data, mode=stat.S_IMODE(file.stat().st_mode))
    else:
        file.write_bytes(data)


def _find_descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path names, also through links; None if none."""
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if folder in ("/dev/fd", f"/proc/{os.getpid()}/fd") and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder) / path.readlink()
    return None


def replace(
    target: Path,
    content: bytes,
    *,
    mode: int | None = None,
    crash_at: str = "file.before_replace",
) -> None:
    """Write a file.

    Args:
        target: a file in a folder that exists.
        content: all of it.
        mode: as for `publish`.
        crash_at: the crash point to pass when the new file is complete and not yet in place.

    Raises OSError; the old file is then unchanged, and nothing is left beside it.
    """
    with _open_aside(target, mode=mode, crash_at=crash_at) as stream:
        stream.write(content)


def copy(source: Path, target: Path, *, mode: int | None = None) -> None:
    """Copy a file without reading it into memory; `mode` as for `publish`. Raises OSError."""
    with source.open("rb") as original, _open_aside(target, mode=mode) as stream:
        shutil.copyfileobj(original, stream, _COPY_BLOCK)


def publish(staged: Path, target: Path, *, mode: int | None = None) -> None:
    """Move a complete, synced file to its name, in one step that a crash cannot split.

    Args:
        staged: a file on the same file system as `target`, see `write_synced`.
        target: its name from now on; a file of that name is replaced.
        mode: the file's permissions, such as 0o644, if they are to change.

    Raises OSError.
    """
    if mode is not None:
        staged.chmod(mode)
    staged.replace(target)
    _sync_folder(target.parent)


def write_synced(file: Path, content: bytes) -> None:
    """Write a staged file through to the disk, for `publish`. Raises OSError."""
    with file.open("wb") as stream:
        stream.write(content)
        _sync(stream)


def to_output_error(path: Path, error: OSError | ValueError) -> OutputError | StoreFull:
    """The error to show when a file or folder cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull(
            f"Cannot write {path}: disk full ({reason}). Free space, then repeat the command."
        )
    return OutputError(f"Cannot write {path}: {reason}. Choose another place, or make it writable.")


@contextlib.contextmanager
def _open_aside(
    target: Path, *, mode: int | None = None, crash_at: str = "file.before_replace"
) -> Iterator[BinaryIO]:
    """A new file beside `target` that takes its place at the end, or vanishes after an error."""
    aside = target.with_name(f"{target.name}.{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        with aside.open("xb") as stream:
            yield stream
            _sync(stream)
        pass_crash_point(crash_at)
        publish(aside, target, mode=mode)
    finally:
        with contextlib.suppress(OSError, ValueError):
            aside.unlink()


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
