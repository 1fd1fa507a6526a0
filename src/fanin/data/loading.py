"""Data sets by name or spec: described, required, loaded."""

from __future__ import annotations

from fanin.data.dataset import DataInfo, Dataset
from fanin.data.datasets.dataset_registry import REGISTRY


def names() -> tuple[str, ...]:
    """The names of the registered data sets; `list_datasets` lists user copies too."""
    return REGISTRY.names()


def describe(spec: str) -> DataInfo:
    """Task, shape, outputs and sizes of a data set; no image or table is read.

    A registered data set can be described before its files exist.

    Raises `UnknownName`, `SpecError` for impossible options, and `DataInvalid` for a damaged user
    copy.
    """
    return REGISTRY.make(spec).describe()


def load(spec: str) -> Dataset:
    """The data set of a name or spec, read or generated, and checked, anew at each call.

    Raises what `describe` raises; `DataUnavailable` if its files are missing, `DataInvalid` if they
    are damaged, `MissingExtra` if the package that embeds it is missing.
    """
    return REGISTRY.make(spec).load()


def canonicalize_spec(spec: str) -> str:
    """The canonical spec of a data set: options that equal their defaults are left out, the others
    sorted.

    No file is opened. Raises `UnknownName` and `SpecError`.
    """
    return REGISTRY.make(spec).spec


def may_change(spec: str) -> bool:
    """Whether the spec may name other arrays tomorrow: a user's file, or a user's function."""
    return REGISTRY.make(spec).may_change


def require(spec: str) -> None:
    """Raise `UnknownName` or `DataUnavailable` unless the files exist; none is opened."""
    REGISTRY.make(spec).origin.require()
