"""Replacing a file whole or not at all: the one place where that is done."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path


def replace(
    target: Path, content: bytes, *, when_written: Callable[[], None] = lambda: None
) -> Path:
    """Write beside the target, sync, move into place, sync the folder: everybody sees the old file
    or the new one, whole.

    Args:
        target: in a folder that exists.
        content: all of the file.
        when_written: called when the new file is complete and not yet in place, for tests that
            crash there.

    Raises OSError; the target is then what it was, and nothing is left beside it.
    """
    aside = target.with_name(f"{target.name}.{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        when_written()
        aside.replace(target)
    finally:
        with contextlib.suppress(OSError, ValueError):
            aside.unlink()
    _sync_folder(target.parent)
    return target


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(
        OSError
    ):  # some file systems know no such thing, and the move itself has happened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
