"""Data sets: registered ones and users' own, in memory as tensors.

    dataset = load("digits")
    prepared = prepare(dataset, holdout=0.1, split_seed=0, standardise_target=True)

Files are looked for under ``FANIN_DATA_DIR``, downloaded by `fetch` or `ensure`, checked against published checksums, and never
unpickled.
"""

from __future__ import annotations

from fanin.data import embedded, images, tables  # each registers its data sets
from fanin.data.adding import add
from fanin.data.base import REGISTRY, Arrays, CanonicalFile, DataInfo, Dataset, DatasetEntry, Mirror
from fanin.data.download import Limits
from fanin.data.fetching import ensure, fetch, fetchable
from fanin.data.folder import path
from fanin.data.inventory import FileCheck, Listing, catalogue, verify
from fanin.data.loading import describe, load, names, require
from fanin.data.mirrors import Progress
from fanin.data.prepare import Part, Prepared, prepare

__all__ = [
    "REGISTRY",
    "Arrays",
    "CanonicalFile",
    "DataInfo",
    "Dataset",
    "DatasetEntry",
    "FileCheck",
    "Limits",
    "Listing",
    "Mirror",
    "Part",
    "Prepared",
    "Progress",
    "add",
    "catalogue",
    "describe",
    "embedded",
    "ensure",
    "fetch",
    "fetchable",
    "images",
    "load",
    "names",
    "path",
    "prepare",
    "require",
    "tables",
    "verify",
]
