"""Data sets by name: what is known of one, whether it is there, and its tensors.

A user's own copy ``<name>/<name>.npz`` wins over the published files, for registered names and any other.
"""

from __future__ import annotations

from pathlib import Path

from fanin.data import canonical, copies, folder
from fanin.data.base import REGISTRY, DataInfo, Dataset, DatasetEntry
from fanin.errors import UnknownName, unknown
from fanin.registry import is_name


def names() -> tuple[str, ...]:
    """The registered names; `catalogue` lists users' own data sets too."""
    return REGISTRY.names()


def describe(name: str) -> DataInfo:
    """Task, shape, outputs and sizes of a data set, without reading its images or tables.

    A registered data set can be described before its files are there. Raises `UnknownName`, and `DataInvalid` where the
    user's own copy of that name is damaged.
    """
    copy, entry = find(name)
    return copies.describe(copy, name, entry) if copy else known(name, entry).info


def load(name: str) -> Dataset:
    """The data set of that name, read and checked anew at each call.

    Raises `UnknownName`, `DataUnavailable` where its files are missing, `DataInvalid` where they are not what they should
    be, `MissingExtra` where the package that embeds it is.
    """
    copy, entry = find(name)
    return copies.read(copy, name, entry) if copy else canonical.read(known(name, entry))


def require(name: str) -> None:
    """Raise `UnknownName` or `DataUnavailable` unless the files of the data set are there; none is opened."""
    copy, entry = find(name)
    if not copy:
        canonical.require(known(name, entry))


def find(name: str) -> tuple[Path | None, DatasetEntry | None]:
    """The user's own copy of that name and the registered entry, each where there is one."""
    if not is_name(name):  # so nothing that looks like a path ever becomes one
        raise _unknown(name)
    return folder.user_copy(name), REGISTRY.get(name) if name in REGISTRY else None


def known(name: str, entry: DatasetEntry | None) -> DatasetEntry:
    """The entry, or `UnknownName` where there is none."""
    if entry is None:
        raise _unknown(name)
    return entry


def _unknown(name: str) -> UnknownName:
    return unknown("dataset", name, {*REGISTRY.names(), *folder.user_copies()})
