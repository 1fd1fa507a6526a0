"""Published files: found, checked against size and checksum, read into a data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fanin.data.dataset import Dataset, DatasetEntry, PublishedFile
from fanin.data.datasets.families import FAMILIES
from fanin.data.formats.tensors import compute_fingerprint, to_tensors
from fanin.data.sources.data_folder import VARIABLE, is_file, make_unreadable_error, resolve_folder
from fanin.errors import DataInvalid, DataUnavailable


def read(entry: DatasetEntry) -> Dataset:
    """The data set from its published files, or out of the package it is embedded in.

    Raises `DataUnavailable` where files are missing and `DataInvalid` where one is not the
    published one.
    """
    found = contents(entry)
    if entry.read is None:
        raise unavailable(entry)
    parts = to_tensors(entry.info, entry.read(found), entry.name)
    return Dataset(
        entry.info,
        *parts,
        divisor=entry.divisor,
        standardise=entry.standardise,
        fingerprint=compute_fingerprint(parts),
        published=True,
        source=source(entry),
        units=entry.units,
    )


def contents(entry: DatasetEntry) -> dict[str, bytes]:
    """The published files by name, each with its size and checksum; errors as of `read`."""
    require(entry)
    return {
        file.name: _content(resolve_folder(entry.folder) / file.name, file) for file in entry.files
    }


def require(entry: DatasetEntry) -> None:
    """Raise `DataUnavailable` unless all files of the data set are there; none is opened."""
    if entry.read is None or missing(entry):
        raise unavailable(entry)


def missing(entry: DatasetEntry) -> list[PublishedFile]:
    """The published files that are not in the data set's folder."""
    return [file for file in entry.files if not is_file(resolve_folder(entry.folder) / file.name)]


def unavailable(entry: DatasetEntry) -> DataUnavailable:
    """What was looked for, where, and what to do."""
    expected = ", ".join(f"{file.name} ({file.bytes:,} bytes)" for file in missing(entry))
    own = (
        entry.name not in FAMILIES
    )  # a family's files cannot be replaced by a copy of the user's own
    copy = f"{entry.name}.npz (your own copy: x_train, y_train, x_test, y_test)" if own else ""
    choices = " or ".join(filter(None, [expected, copy]))
    download = f"Download it: fanin data fetch {entry.name}. Or put" if entry.mirrors else "Put"
    register = f", or register a copy: fanin data add {entry.name} FILE.npz" if own else ""
    return DataUnavailable(
        f"{entry.name} is not there. Looked in {resolve_folder(entry.folder)} for {choices}. {download} the "
        "files there, or set "
        f"{VARIABLE} to the folder that holds {entry.folder}/{register}"
    )


def source(entry: DatasetEntry) -> str:
    """Where the arrays come from, in words."""
    if entry.package:
        return f"embedded in {entry.package}"
    names = ", ".join(file.name for file in entry.files)
    return (
        f"{entry.name}: {len(entry.files)} canonical files"
        if len(entry.files) > 1
        else f"{entry.name}: canonical {names}"
    )


def _content(file: Path, expected: PublishedFile) -> bytes:
    try:
        size = file.stat().st_size
        # The size comes first: a file that is far too large is not read at all.
        content = file.read_bytes() if size == expected.bytes else b""
    except OSError as error:
        raise make_unreadable_error(file, error) from None
    wrong = difference(expected, size, content)
    if wrong:
        raise DataInvalid(
            f"{file} is {wrong}. Copy the file again, or register another version under your own "
            "name: "
            f"fanin data add NAME FILE.npz"
        )
    return content


def is_whole(file: Path, expected: PublishedFile) -> bool:
    """Whether the published file is there with its size and checksum; one that may not be read
    raises `DataUnavailable`.
    """
    try:
        same_size = is_file(file) and file.stat().st_size == expected.bytes
        return same_size and not difference(expected, expected.bytes, file.read_bytes())
    except OSError as error:
        raise make_unreadable_error(file, error) from None


def difference(expected: PublishedFile, size: int, content: bytes) -> str:
    """How a file of `size` bytes differs from the published one; empty where it does not. `content`
    matters if `size` fits.
    """
    if size != expected.bytes:
        state = "cut short" if size < expected.bytes else "not the published file"
        return f"{state}: {size:,} bytes; expected {expected.bytes:,}"
    received = hashlib.new(
        expected.algorithm.replace("-", "").lower(), content, usedforsecurity=False
    ).hexdigest()
    if received != expected.checksum:
        return f"not the published file: its {expected.algorithm} is {received}; expected {expected.checksum}"
    return ""
