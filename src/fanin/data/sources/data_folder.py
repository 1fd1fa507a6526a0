"""The folder that holds data sets: FANIN_DATA_DIR, or ``fanin`` in the user's cache."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs

from fanin.errors import DataUnavailable, UsageError, quote
from fanin.registry import is_name

VARIABLE = "FANIN_DATA_DIR"


def resolve_folder(name: str | None = None) -> Path:
    """The folder that holds data sets, or the folder of one of them; it need not exist.

    ``FANIN_DATA_DIR`` if set, else ``fanin`` in the user's cache (``XDG_CACHE_HOME`` or
    ``~/.cache`` on Linux, ``~/Library/Caches`` on macOS).

    Raises `DataUnavailable` if there is no home folder, and `UsageError` for a name that could be a
    path.
    """
    root = _resolve_root()
    if name is None:
        return root
    require_name(name)
    return root / name


def require_name(name: object) -> None:
    """Raise `UsageError` unless `name` can name a data set, so that a name never becomes a path."""
    if not is_name(name):
        raise UsageError(
            f"{quote(name)} cannot name a dataset: use lower-case letters, digits, - and _ (60 at "
            "most)."
        )


def find_user_copy(name: str) -> Path | None:
    """The user copy ``<folder>/<name>/<name>.npz``, if it exists."""
    try:
        copy = resolve_folder(name) / f"{name}.npz"
    except DataUnavailable:  # without a folder, data embedded in a package still load
        return None
    return copy if is_file(copy) else None


def find_user_copies() -> dict[str, Path]:
    """All user copies by name, sorted; folders that cannot be searched are skipped."""
    found: dict[str, Path] = {}
    with contextlib.suppress(OSError, DataUnavailable):
        for name in filter(is_name, sorted(folder.name for folder in _resolve_root().iterdir())):
            with contextlib.suppress(DataUnavailable):
                copy = find_user_copy(name)
                if copy is not None:
                    found[name] = copy
    return found


def is_file(file: Path) -> bool:
    """Whether the file exists; raises `DataUnavailable` if its folder cannot be searched."""
    try:
        return file.is_file()
    except OSError as error:
        raise to_unreadable_error(file, error) from None


def to_unreadable_error(file: Path, error: OSError) -> DataUnavailable:
    """The error for a file that exists and cannot be read."""
    return DataUnavailable(
        f"{file} cannot be read: {error.strerror or error}. Check its permissions, or {VARIABLE}."
    )


def _resolve_root() -> Path:
    setting = os.environ.get(VARIABLE, "").strip()
    try:
        if setting:
            return Path(setting).expanduser().absolute()
        cache = platformdirs.user_cache_path("fanin", appauthor=False)
    except (RuntimeError, OSError):  # no home folder, or the working folder is gone
        raise _make_no_folder_error() from None
    if not cache.is_absolute():  # no home folder: older versions of platformdirs keep the "~"
        raise _make_no_folder_error()
    return cache


def _make_no_folder_error() -> DataUnavailable:
    return DataUnavailable(f"There is no folder for data sets. Set {VARIABLE} to an absolute path.")
