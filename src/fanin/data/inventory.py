"""What is there: the catalogue of data sets, and the check of their files."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fanin.data.dataset import REGISTRY, DataInfo, DatasetEntry, PublishedFile
from fanin.data.datasets import user_copy
from fanin.data.datasets.families import FAMILIES, Member
from fanin.data.loading import find, member
from fanin.data.sources import data_folder, published_files
from fanin.errors import DataError, UsageError

Availability = Literal["available", "missing", "user copy", "invalid"]


@dataclass(frozen=True, kw_only=True)
class DatasetStatus:
    """One line of the catalogue."""

    name: str
    info: DataInfo | None
    """None where a user's own copy is damaged and its name is not registered."""
    where: str
    """A file, a folder, the package that embeds the data, or "generated"."""
    state: Availability
    note: str = ""
    of: str = ""
    """The data set whose files are read, where it is another one."""


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """One file beside what it should be; None where there is no expectation, or no file.

    A file of which only the SHA-1 was published has `expected_sha1`, and no `expected_sha256`.
    """

    path: Path
    expected_bytes: int | None
    actual_bytes: int | None
    expected_sha256: str | None
    actual_sha256: str | None
    ok: bool
    note: str = ""
    expected_sha1: str | None = None
    actual_sha1: str | None = None


def list_datasets() -> list[DatasetStatus]:
    """Every data set that can be named: registered ones in their order, families with default
    options, users' own by name.

    Files are looked for, not read; `verify` reads them.
    """
    own = [
        name
        for name in data_folder.find_user_copies()
        if name not in REGISTRY and name not in FAMILIES
    ]
    return [
        *map(get_status, REGISTRY.names()),
        *map(_family_listing, FAMILIES.names()),
        *map(get_status, own),
    ]


def get_status(spec: str) -> DatasetStatus:
    """The line of one data set, given by name or spec; raises what `fanin.data.describe` raises but
    `DataError`.
    """
    chosen = member(spec)
    if chosen is not None:
        return _member_listing(chosen)
    copy, entry = find(spec)
    name = copy.stem if copy else spec
    return _user_listing(name, copy, entry) if copy else _listing(_registered(entry))


def verify(name: str) -> list[FileCheck]:
    """Each file that `load` would read, measured against what it should be; empty for data that no
    file holds.

    Raises `UnknownName`.
    """
    copy, entry = find(name)
    if copy:
        return [_check_copy(copy, copy.stem, entry)]
    if entry is None:
        return []
    if entry.read is None:
        return [_check(data_folder.resolve_folder(entry.folder) / f"{entry.name}.npz", None)]
    return [
        _check(data_folder.resolve_folder(entry.folder) / file.name, file) for file in entry.files
    ]


def _registered(entry: DatasetEntry | None) -> DatasetEntry:
    assert entry is not None  # `find` raises where there is neither a copy nor an entry
    return entry


def _family_listing(name: str) -> DatasetStatus:
    try:
        return get_status(name)
    except UsageError as error:  # a copy of the user's own has the family's name
        return DatasetStatus(
            name=name,
            info=None,
            where=str(data_folder.resolve_folder(name)),
            state="invalid",
            note=str(error),
        )


def _member_listing(chosen: Member) -> DatasetStatus:
    """A family's line: where its files lie is said of the data set that it is made from."""
    if chosen.of:
        base = get_status(chosen.of)
        info = None if base.state == "invalid" else chosen.describe()
        return replace(base, name=chosen.spec, info=info, of=base.of or chosen.of)
    if chosen.family.source:
        return replace(_listing(chosen.family.source), name=chosen.spec, info=chosen.describe())
    if chosen.family.package:
        return _embedded_listing(chosen.spec, chosen.describe(), chosen.family.package)
    return DatasetStatus(
        name=chosen.spec, info=chosen.describe(), where="generated", state="available"
    )


def _listing(entry: DatasetEntry) -> DatasetStatus:
    if entry.package:
        return _embedded_listing(entry.name, entry.info, entry.package)
    try:
        where = data_folder.resolve_folder(entry.folder)
        missing = published_files.missing(entry)
    except DataError as error:
        return DatasetStatus(
            name=entry.name, info=entry.info, where="", state="missing", note=str(error)
        )
    if entry.read is None:
        return DatasetStatus(
            name=entry.name,
            info=entry.info,
            where=str(where),
            state="missing",
            note=f"needs {entry.name}.npz",
        )
    note = f"lacks {', '.join(file.name for file in missing)}" if missing else ""
    return DatasetStatus(
        name=entry.name,
        info=entry.info,
        where=str(where),
        state="missing" if missing else "available",
        note=note,
    )


def _embedded_listing(name: str, info: DataInfo, package: str) -> DatasetStatus:
    where = f"embedded in {package}"
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return DatasetStatus(
            name=name, info=info, where=where, state="missing", note=f"needs {package}"
        )
    return DatasetStatus(name=name, info=info, where=where, state="available")


def _user_listing(name: str, copy: Path, entry: DatasetEntry | None) -> DatasetStatus:
    try:
        return DatasetStatus(
            name=name,
            info=user_copy.describe(copy, name, entry),
            where=str(copy),
            state="user copy",
        )
    except DataError as error:
        return DatasetStatus(
            name=name,
            info=entry.info if entry else None,
            where=str(copy),
            state="invalid",
            note=str(error),
        )


def _check_copy(copy: Path, name: str, entry: DatasetEntry | None) -> FileCheck:
    try:
        user_copy.read(copy, name, entry)
    except DataError as error:
        return _check(copy, None, problem=str(error))
    return replace(_check(copy, None), note="structure checked; a user's own copy, not canonical")


def _check(file: Path, expected: PublishedFile | None, problem: str = "") -> FileCheck:
    size, sha256, sha1 = None, None, None
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
            if expected and not expected.sha256:
                stream.seek(0)
                sha1 = hashlib.file_digest(
                    stream, lambda: hashlib.sha1(usedforsecurity=False)
                ).hexdigest()
    except FileNotFoundError:
        problem = "missing"
    except OSError as error:
        problem = problem or str(data_folder.make_unreadable_error(file, error))
    if expected and not problem and (size, sha1 or sha256) != (expected.bytes, expected.checksum):
        problem = "another size" if size != expected.bytes else "another checksum"
    return FileCheck(
        path=file,
        expected_bytes=expected.bytes if expected else None,
        actual_bytes=size,
        expected_sha256=expected.sha256 if expected else None,
        actual_sha256=sha256,
        expected_sha1=expected.sha1 if expected else None,
        actual_sha1=sha1,
        ok=not problem,
        note=problem,
    )
