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
    CanonicalFile,
    DataInfo,
    Dataset,
    DatasetEntry,
    Mirror,
)
from fanin.data.datasets.families import FAMILIES, Family, Member
from fanin.data.fetching import ensure, fetch, fetchable
from fanin.data.formats.mapped_samples import DiskSamples
from fanin.data.inventory import DatasetStatus, FileCheck, catalogue, listing, verify
from fanin.data.loading import canonical_spec, describe, load, member, names, require
from fanin.data.prepare import Prepared, Subset, prepare
from fanin.data.sources.data_folder import path
from fanin.data.sources.download import Limits
from fanin.data.sources.mirrors import DownloadProgress

__all__ = [
    "FAMILIES",
    "REGISTRY",
    "Arrays",
    "CanonicalFile",
    "DataInfo",
    "Dataset",
    "DatasetEntry",
    "DatasetStatus",
    "DiskSamples",
    "DownloadProgress",
    "Family",
    "FileCheck",
    "Limits",
    "Member",
    "Mirror",
    "Prepared",
    "Subset",
    "add",
    "canonical_spec",
    "catalogue",
    "describe",
    "ensure",
    "fetch",
    "fetchable",
    "listing",
    "load",
    "member",
    "names",
    "path",
    "prepare",
    "require",
    "verify",
]
