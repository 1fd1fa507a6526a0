"""Where the relative path of a user's file is looked up: beside the study file, then in the working
directory.

The study's folder holds for a block of code (`look_beside`), and for the workers that are started
in it, which find it in their environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_VARIABLE = "FANIN_STUDY_FOLDER"

_STUDY_FOLDER: ContextVar[Path | None] = ContextVar("study_folder", default=None)


@contextmanager
def look_beside(folder: Path | None) -> Iterator[None]:
    """Look up paths in a study's folder first, in this block; None changes nothing."""
    token = _STUDY_FOLDER.set(folder.absolute() if folder else _STUDY_FOLDER.get())
    try:
        yield
    finally:
        _STUDY_FOLDER.reset(token)


def get_study_folder() -> Path | None:
    """The folder of the study file, if there is one."""
    inherited = os.environ.get(_VARIABLE)
    return _STUDY_FOLDER.get() or (Path(inherited) if inherited else None)


def build_worker_variables() -> dict[str, str]:
    """The environment variables that tell a worker where to look."""
    folder = get_study_folder()
    return {_VARIABLE: str(folder)} if folder else {}


def list_places(path: str) -> list[Path]:
    """Where a path may be, in the order of looking; raises as `Path.expanduser` does."""
    given = Path(path).expanduser()
    folder = get_study_folder()
    return [given] if folder is None or given.is_absolute() else [folder / given, given]
