"""Data sets by name or spec: what is known of one, whether it is there, and its tensors.

A name is that of a registered data set or of a user's own copy ``<name>/<name>.npz``, which wins
over published files of that name; a spec such as ``pixels(of=mnist, size=14)`` is a family of data
sets with its options.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fanin import specs
from fanin.data.dataset import REGISTRY, DataInfo, Dataset, DatasetEntry
from fanin.data.datasets import user_copy
from fanin.data.datasets.families import FAMILIES, Member
from fanin.data.sources import data_folder, published_files
from fanin.errors import SpecError, UnknownName, UsageError
from fanin.registry import is_name


def names() -> tuple[str, ...]:
    """The registered names, families last; `list_datasets` lists users' own data sets too."""
    return *REGISTRY.names(), *FAMILIES.names()


def describe(spec: str) -> DataInfo:
    """Task, shape, outputs and sizes of a data set, without reading its images or tables.

    A registered data set can be described before its files are there. Raises `UnknownName`,
    `SpecError` for options that cannot be, and `DataInvalid` where the user's own copy of that name
    is damaged.
    """
    chosen = member(spec)
    if chosen is not None:
        return chosen.describe()
    copy, entry = find(spec)
    return user_copy.describe(copy, _plain(spec), entry) if copy else _published(entry).info


def load(spec: str) -> Dataset:
    """The data set of that name or spec, read or generated, and checked, anew at each call.

    Raises what `describe` raises, `DataUnavailable` where its files are missing, `DataInvalid`
    where they are not what they should be, `MissingExtra` where the package that embeds it is.
    """
    chosen = member(spec)
    if chosen is not None:
        return chosen.load()
    copy, entry = find(spec)
    return (
        user_copy.read(copy, _plain(spec), entry)
        if copy
        else published_files.read(_published(entry))
    )


def canonicalize_spec(spec: str) -> str:
    """The one way to write a data set: options that equal their default left out, the others
    sorted; a plain name as it is.

    No file is opened. Raises `UnknownName` and `SpecError`.
    """
    chosen = member(spec)
    if chosen is not None:
        return chosen.spec
    find(spec)
    return _plain(spec)


def require(spec: str) -> None:
    """Raise `UnknownName` or `DataUnavailable` unless the files that the data set is read from are
    there; none is opened.
    """
    copy, entry = find(spec)
    if copy is None and entry is not None:
        published_files.require(entry)


def member(spec: str) -> Member | None:
    """The family that a spec names, with its options; None for a plain data set.

    Raises `SpecError` for a malformed spec or options of a plain data set, `UnknownName` for an
    option that the family does not have or an unknown data set in `of`, `UsageError` where a user's
    own copy has the family's name.
    """
    name, options = _parsed(spec)
    if specs.is_reference(name):
        return _own(name, options)
    if name not in FAMILIES:
        if options:
            find(name)  # of an unknown name that is said, and not that it has no options
            raise SpecError(
                f"{name} has no options. Options are for {', '.join(FAMILIES.names())}."
            )
        return None
    _require_no_copy(name)
    family = FAMILIES.get(name)
    built: Any = specs.construct(name, family.options, options)
    chosen = Member(family, built)
    return (
        replace(chosen, options=replace(built, of=canonicalize_spec(chosen.of)))
        if chosen.of
        else chosen
    )


def find(spec: str) -> tuple[Path | None, DatasetEntry | None]:
    """The user's own copy and the registered entry whose files a data set is read from, each where
    there is one.

    That of the data set which `of` names, if there is one; neither for what is generated. Raises
    `UnknownName`.
    """
    chosen = member(spec)
    if chosen is not None:
        return find(chosen.of) if chosen.of else (None, chosen.family.source)
    name = _plain(spec)
    if not is_name(name):  # so nothing that looks like a path ever becomes one
        raise _unknown(name)
    copy, entry = data_folder.find_user_copy(name), REGISTRY.get(name) if name in REGISTRY else None
    if copy is None and entry is None:
        raise _unknown(name)
    return copy, entry


def _own(target: str, options: dict[str, specs.Value]) -> Member:
    from fanin.data.datasets import user_dataset

    return user_dataset.member(target, options)


def _published(entry: DatasetEntry | None) -> DatasetEntry:
    assert entry is not None  # `find` raises where there is neither a copy nor an entry
    return entry


def _plain(spec: str) -> str:
    return _parsed(spec)[0]


def _parsed(spec: str) -> tuple[str, dict[str, specs.Value]]:
    """Name and options. A text without brackets is a name, whatever it holds, so that an odd one is
    unknown and no more.
    """
    return specs.parse(spec) if isinstance(spec, str) and "(" in spec else (spec, {})


def _require_no_copy(name: str) -> None:
    copy = data_folder.find_user_copy(name)
    if copy is not None:
        raise UsageError(
            f"{name} is the name of a family of data sets, and {copy} would be called so too. "
            "Rename folder and file."
        )


def _unknown(name: str) -> UnknownName:
    return UnknownName.suggest("dataset", name, {*names(), *data_folder.find_user_copies()})
