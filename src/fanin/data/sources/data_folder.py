"""Where data sets lie: the folder that FANIN_DATA_DIR names, or the user's cache."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from fanin.errors import DataUnavailable, UsageError, quote
from fanin.registry import is_name

VARIABLE = "FANIN_DATA_DIR"


def resolve_folder(name: str | None = None) -> Path:
    """The folder that holds data sets, or the folder of one of them; it need not exist.

    ``FANIN_DATA_DIR`` where that is set, else ``fanin`` in the user's cache (``XDG_CACHE_HOME``,
    ``~/.cache``, on macOS ``~/Library/Caches``). Raises `DataUnavailable` where there is no home
    folder either, `UsageError` for a name that could be a path.
    """
    root = _resolve_root()
    if name is None:
        return root
    require_name(name)
    return root / name


def require_name(name: object) -> None:
    """Raise `UsageError` unless `name` can name a data set; so a name never becomes a path of its
    own.
    """
    if not is_name(name):
        raise UsageError(
            f"{quote(name)} cannot name a dataset: use lower-case letters, digits, - and _ (60 at "
            "most)."
        )


def find_user_copy(name: str) -> Path | None:
    """The user's own copy ``<folder>/<name>/<name>.npz``, if there is one."""
    try:
        copy = resolve_folder(name) / f"{name}.npz"
    except DataUnavailable:  # no folder at all: what is embedded in a package loads even so
        return None
    return copy if is_file(copy) else None


def find_user_copies() -> dict[str, Path]:
    """All copies of the user's own by name, sorted; folders that may not be searched are passed
    over.
    """
    found: dict[str, Path] = {}
    with contextlib.suppress(OSError, DataUnavailable):
        for name in filter(is_name, sorted(folder.name for folder in _resolve_root().iterdir())):
            with contextlib.suppress(DataUnavailable):
                copy = find_user_copy(name)
                if copy is not None:
                    found[name] = copy
    return found


def is_file(file: Path) -> bool:
    """Whether the file is there; a folder that may not be searched raises `DataUnavailable`."""
    try:
        return file.is_file()
    except OSError as error:
        raise make_unreadable_error(file, error) from None


def make_unreadable_error(file: Path, error: OSError) -> DataUnavailable:
    """The error for a file that is there and cannot be read."""
    return DataUnavailable(
        f"{file} cannot be read: {error.strerror or error}. Check its permissions, or {VARIABLE}."
    )


def _resolve_root() -> Path:
    given = os.environ.get(VARIABLE, "").strip()
    try:
        return Path(given).expanduser().absolute() if given else _find_cache() / "fanin"
    except (RuntimeError, OSError):  # no home folder, or a working folder that is gone
        raise DataUnavailable(
            f"There is no folder for data sets: set {VARIABLE} to an absolute path."
        ) from None


def _find_cache() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
