"""Data sets: registered ones, user copies and user components, in memory or mapped from a file.

    dataset = load("digits")  # or "pixels(of=mnist, size=14, permuted=true)"
    prepared = prepare(dataset, holdout=0.1, split_seed=0, standardise_target=True)

Files are looked for under ``FANIN_DATA_DIR``, downloaded by `fetch` or `ensure`, checked against
published checksums, and never unpickled.
"""

from __future__ import annotations

from fanin.data.adding import add
from fanin.data.dataset import (
    Arrays,
    DataInfo,
    Dataset,
    InputKind,
    InputPart,
    Mirror,
    PublishedFile,
    Task,
)
from fanin.data.datasets.dataset_entry import DatasetEntry, NamedDataset, PrimaryEntry
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.datasets.derived_dataset import DerivedEntry
from fanin.data.fetching import ensure, fetch, list_fetchable
from fanin.data.formats.mapped_samples import MappedSamples
from fanin.data.formats.plausibility import LabelCounts, count_labels, describe_labels, list_doubts
from fanin.data.inventory import DatasetStatus, get_status, list_datasets, verify
from fanin.data.loading import canonicalize_spec, describe, load, may_change, names, require
from fanin.data.prepare import Prepared, Subset, prepare
from fanin.data.sources.data_folder import resolve_folder
from fanin.data.sources.download import DownloadLimits
from fanin.data.sources.file_check import FileCheck
from fanin.data.sources.mirrors import DownloadProgress
from fanin.data.sources.origin import FilelessOrigin, Origin
from fanin.data.sources.published_files import PublishedFiles

__all__ = [
    "REGISTRY",
    "Arrays",
    "DataInfo",
    "Dataset",
    "DatasetEntry",
    "DatasetStatus",
    "DerivedEntry",
    "DownloadLimits",
    "DownloadProgress",
    "FileCheck",
    "FilelessOrigin",
    "InputKind",
    "InputPart",
    "LabelCounts",
    "MappedSamples",
    "Mirror",
    "NamedDataset",
    "Origin",
    "Prepared",
    "PrimaryEntry",
    "PublishedFile",
    "PublishedFiles",
    "Subset",
    "Task",
    "add",
    "canonicalize_spec",
    "count_labels",
    "describe",
    "describe_labels",
    "ensure",
    "fetch",
    "get_status",
    "list_datasets",
    "list_doubts",
    "list_fetchable",
    "load",
    "may_change",
    "names",
    "prepare",
    "require",
    "resolve_folder",
    "verify",
]
