"""What is there: the catalogue of data sets, and the check of their files."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fanin.data import canonical, copies, folder
from fanin.data.base import REGISTRY, CanonicalFile, DataInfo, DatasetEntry
from fanin.data.loading import find, known
from fanin.errors import DataError

State = Literal["available", "missing", "user copy", "invalid"]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One line of the catalogue."""

    name: str
    info: DataInfo | None
    """None where a user's own copy is damaged and its name is not registered."""
    where: str
    """A file, a folder, or the package that embeds the data."""
    state: State
    note: str = ""


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


def catalogue() -> list[Listing]:
    """Every data set that can be named: the registered ones in their order, then users' own by name.

    Files are looked for, not read; `verify` reads them.
    """
    found = folder.user_copies()
    registered = []
    for entry in REGISTRY:
        copy = found.pop(entry.name, None)
        registered.append(_user_listing(entry.name, copy, entry) if copy else _listing(entry))
    return registered + [_user_listing(name, copy, None) for name, copy in found.items()]


def verify(name: str) -> list[FileCheck]:
    """Each file that `load` would read, measured against what it should be; empty for data embedded in a package.

    Raises `UnknownName`.
    """
    copy, entry = find(name)
    if copy:
        return [_check_copy(copy, name, entry)]
    entry = known(name, entry)
    if entry.read is None:
        return [_check(folder.path(name) / f"{name}.npz", None)]
    return [_check(folder.path(name) / file.name, file) for file in entry.files]


def _listing(entry: DatasetEntry) -> Listing:
    if entry.package:
        return _embedded_listing(entry)
    try:
        where = folder.path(entry.name)
        missing = canonical.missing(entry)
    except DataError as error:
        return Listing(name=entry.name, info=entry.info, where="", state="missing", note=str(error))
    if entry.read is None:
        return Listing(name=entry.name, info=entry.info, where=str(where), state="missing", note=f"needs {entry.name}.npz")
    note = f"lacks {', '.join(file.name for file in missing)}" if missing else ""
    return Listing(name=entry.name, info=entry.info, where=str(where), state="missing" if missing else "available", note=note)


def _embedded_listing(entry: DatasetEntry) -> Listing:
    where = f"embedded in {entry.package}"
    try:
        importlib.metadata.version(entry.package)
    except importlib.metadata.PackageNotFoundError:
        return Listing(name=entry.name, info=entry.info, where=where, state="missing", note=f"needs {entry.package}")
    return Listing(name=entry.name, info=entry.info, where=where, state="available")


def _user_listing(name: str, copy: Path, entry: DatasetEntry | None) -> Listing:
    try:
        return Listing(name=name, info=copies.describe(copy, name, entry), where=str(copy), state="user copy")
    except DataError as error:
        return Listing(name=name, info=entry.info if entry else None, where=str(copy), state="invalid", note=str(error))


def _check_copy(copy: Path, name: str, entry: DatasetEntry | None) -> FileCheck:
    try:
        copies.read(copy, name, entry)
    except DataError as error:
        return _check(copy, None, problem=str(error))
    return replace(_check(copy, None), note="structure checked; a user's own copy, not canonical")


def _check(file: Path, expected: CanonicalFile | None, problem: str = "") -> FileCheck:
    size, sha256, sha1 = None, None, None
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
            if expected and not expected.sha256:
                stream.seek(0)
                sha1 = hashlib.file_digest(stream, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        problem = "missing"
    except OSError as error:
        problem = problem or str(folder.unreadable(file, error))
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
