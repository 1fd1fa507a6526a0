"""The registry of data sets: from a spec to a `NamedDataset`.

    REGISTRY.make("pixels(of=mnist, size=14)")
    REGISTRY.make("my_data.py:make(n=100)")

A name is that of a registered data set or of a user copy ``<name>/<name>.npz``, which takes the
place of published files; a reference names a user component.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path, PurePath
from typing import Any

from fanin import specs
from fanin.data.datasets.dataset_entry import DatasetEntry, NamedDataset, PrimaryEntry
from fanin.data.datasets.user_copy import UserCopyEntry
from fanin.data.sources.data_folder import find_user_copies, find_user_copy
from fanin.errors import UnknownName, UsageError, quote
from fanin.registry import NoOptions, Registry, is_name

_ARRAYS = ".npz"

_TABLES = (".csv", ".tsv", ".txt")
_FILES = (
    _ARRAYS,
    *_TABLES,
    ".json",
    ".jsonl",
    ".parquet",
    ".xlsx",
    ".npy",
    ".h5",
    ".mat",
    ".pt",
    ".zip",
)
"""Endings of files that hold data."""


class DatasetRegistry(Registry[DatasetEntry, NamedDataset]):
    """The registered data sets, and the user copies in the folder of data sets."""

    def make(self, spec: str, /, **options: Any) -> NamedDataset:
        """The data set that a spec describes; see `Registry.make`.

        An odd text without brackets is an unknown name, not a malformed spec. Raises `UsageError`
        if a user copy has the name of a registered data set that it cannot replace.
        """
        is_plausible = isinstance(spec, str) and ("(" in spec or specs.is_reference(spec))
        if not (is_plausible or is_name(spec)):
            if isinstance(spec, str) and _looks_like_path(spec):
                raise _make_path_error(spec)
            self.get(spec)
        return super().make(spec, **options)

    def find(self, name: str) -> DatasetEntry:
        """The entry of a name, of a user copy, or of a reference to user code."""
        if not is_name(name):  # so a name never becomes a path
            entry = super().find(name)
            assert isinstance(entry, DatasetEntry)
            return entry
        file = find_user_copy(name)
        if file is not None:
            return self.make_copy_entry(name, file)
        if name not in self:
            known = {*self.names(), *find_user_copies()}
            raise UnknownName.suggest(self.kind, name, known, hint=self._hint_at_own())
        return self.get(name)

    def make_copy_entry(self, name: str, file: Path) -> UserCopyEntry:
        """The entry of a file as the user copy of that name; the file is not opened.

        Raises `UsageError` if it cannot replace the registered data set of that name.
        """
        entry = self.get(name) if name in self else None
        if entry is None or (isinstance(entry, PrimaryEntry) and entry.options is NoOptions):
            return UserCopyEntry.from_file(name, file, entry)
        raise UsageError(
            f"{name} is a registered data set with options, which the user copy {file} cannot "
            "replace. Give the copy another name."
        )


REGISTRY = DatasetRegistry(
    "dataset", DatasetEntry, groups=("fanin.datasets", "fanin.dataset_families")
)


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.lower().endswith(_FILES)


def _make_path_error(text: str) -> UnknownName:
    """The error for the path of a file in place of a data set's name; says how a file becomes a
    data set.
    """
    stem = PurePath(text.replace("\\", "/")).stem.lower()
    name = re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "mine"
    name = name if is_name(name) else "mine"
    if text.lower().endswith(_ARRAYS):
        how = f"Register it: fanin data add {name} {shlex.quote(text)}, then write {name}"
    elif text.lower().endswith(_TABLES):
        how = (
            f"Register it: fanin data add {name} {shlex.quote(text)} --target COLUMN, with the "
            f"column that is predicted, then write {name}"
        )
    else:
        how = (
            f"Save its arrays x_train, y_train, x_test and y_test as {name}.npz (numpy.savez) and "
            f"register it: fanin data add {name} {name}.npz, then write {name}. Or read it in a "
            "function of your own: my_file.py:make"
        )
    return UnknownName(f"{quote(text)} is a path, not the name of a data set. {how}.")
