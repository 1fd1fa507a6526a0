"""Data sets: registered ones, families of them with options, and users' own; tensors in memory, or
mapped from a large file.

    dataset = load("digits")  # or "pixels(of=mnist, size=14, permuted=true)"
    prepared = prepare(dataset, holdout=0.1, split_seed=0, standardise_target=True)

Files are looked for under ``FANIN_DATA_DIR``, downloaded by `fetch` or `ensure`, checked against
published checksums, and never unpickled.
"""

from __future__ import annotations

from fanin.data.adding import add
from fanin.data.dataset import (
    REGISTRY,
    Arrays,
    DataInfo,
    Dataset,
    DatasetEntry,
    Mirror,
    PublishedFile,
)
from fanin.data.datasets.families import FAMILIES, Family, Member
from fanin.data.fetching import ensure, fetch, list_fetchable
from fanin.data.formats.mapped_samples import MappedSamples
from fanin.data.inventory import DatasetStatus, FileCheck, get_status, list_datasets, verify
from fanin.data.loading import canonicalize_spec, describe, load, member, names, require
from fanin.data.prepare import Prepared, Subset, prepare
from fanin.data.sources.data_folder import resolve_folder
from fanin.data.sources.download import DownloadLimits
from fanin.data.sources.mirrors import DownloadProgress

__all__ = [
    "FAMILIES",
    "REGISTRY",
    "Arrays",
    "DataInfo",
    "Dataset",
    "DatasetEntry",
    "DatasetStatus",
    "DownloadLimits",
    "DownloadProgress",
    "Family",
    "FileCheck",
    "MappedSamples",
    "Member",
    "Mirror",
    "Prepared",
    "PublishedFile",
    "Subset",
    "add",
    "canonicalize_spec",
    "describe",
    "ensure",
    "fetch",
    "get_status",
    "list_datasets",
    "list_fetchable",
    "load",
    "member",
    "names",
    "prepare",
    "require",
    "resolve_folder",
    "verify",
]
