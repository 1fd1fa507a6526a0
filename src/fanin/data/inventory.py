"""What is on this machine: the list of data sets, and the check of their files."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fanin.data.dataset import Availability, DataInfo
from fanin.data.datasets.dataset_entry import NamedDataset
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.datasets.user_copy import UserCopy
from fanin.data.formats.plausibility import LabelCounts
from fanin.data.sources import data_folder
from fanin.data.sources.file_check import FileCheck
from fanin.errors import DataError, UsageError
from fanin.registry import NoOptions


@dataclass(frozen=True, kw_only=True)
class DatasetStatus:
    """What a list of data sets says of one."""

    name: str
    info: DataInfo | None
    """None if a user copy is damaged or cannot be used, and nothing else describes the data set."""
    where: str
    """A file, a folder, the package that embeds the data, or "generated"."""
    state: Availability
    note: str = ""
    of: str = ""
    """The data set whose files are read, if it is another one."""
    labels: LabelCounts | None = None
    """The samples of each class of a user copy."""


def list_datasets() -> list[DatasetStatus]:
    """Every data set that has a name: registered ones with default options, then user copies.

    Published files are looked for, not read; `verify` reads them.
    """
    copies = (name for name in data_folder.find_user_copies() if name not in REGISTRY)
    return [_get_status_or_error(name) for name in (*REGISTRY.names(), *copies)]


def get_status(spec: str) -> DatasetStatus:
    """The status of one data set.

    Raises what `fanin.data.describe` raises, except `DataError`.
    """
    dataset = REGISTRY.make(spec)
    origin = dataset.origin
    try:
        where, missing = origin.where, origin.find_missing()
    except DataError as error:  # no folder for data sets, or one that cannot be searched
        return _make_status(dataset, dataset.describe(), "", "missing", str(error))
    try:
        info = dataset.describe()
        labels = dataset.count_labels() if isinstance(dataset, UserCopy) else None
    except DataError as error:  # a damaged user copy
        registered = _describe_registered(dataset.spec)
        return _make_status(dataset, registered, where, "invalid", str(error))
    note = f"lacks {', '.join(missing)}" if missing else ""
    state: Availability = "missing" if missing else origin.availability
    return replace(_make_status(dataset, info, where, state, note), labels=labels)


def verify(spec: str) -> list[FileCheck]:
    """Each file that `load` would read, compared with what it should be; empty without files.

    Raises `UnknownName`.
    """
    return REGISTRY.make(spec).origin.verify()


def _describe_registered(name: str) -> DataInfo | None:
    """The description of a registered data set without options; None if there is none."""
    entry = REGISTRY.get(name) if name in REGISTRY else None
    if entry is None or entry.options is not NoOptions:
        return None
    return entry.make(NoOptions()).describe()


def _make_status(
    dataset: NamedDataset, info: DataInfo | None, where: str, state: Availability, note: str
) -> DatasetStatus:
    return DatasetStatus(
        name=dataset.spec, info=info, where=where, state=state, note=note, of=dataset.of
    )


def _get_status_or_error(name: str) -> DatasetStatus:
    try:
        return get_status(name)
    except UsageError as error:  # a user copy has the name of a data set that it cannot replace
        where = str(data_folder.resolve_folder(name))
        return DatasetStatus(name=name, info=None, where=where, state="invalid", note=str(error))
