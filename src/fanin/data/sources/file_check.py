"""Files compared with what was published: size and checksum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fanin.data.dataset import PublishedFile
from fanin.data.sources.data_folder import is_file, to_unreadable_error


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """A file compared with what it should be.

    An expected value is None if nothing is expected, an actual one if there is no file. A file of
    which only the SHA-1 was published has `expected_sha1` and no `expected_sha256`.
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


def check_file(path: Path, expected: PublishedFile | None = None, problem: str = "") -> FileCheck:
    """Measure a file and compare it with the published one.

    Args:
        path: the file; it may be missing.
        expected: the published file; None if there is none, as for a user copy.
        problem: what is already known to be wrong with the file.
    """
    size, sha256, sha1 = None, None, None
    try:
        with path.open("rb") as stream:
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
        problem = problem or str(to_unreadable_error(path, error))
    if expected and not problem and (size, sha1 or sha256) != (expected.bytes, expected.checksum):
        problem = "another size" if size != expected.bytes else "another checksum"
    return FileCheck(
        path=path,
        expected_bytes=expected.bytes if expected else None,
        actual_bytes=size,
        expected_sha256=expected.sha256 if expected else None,
        actual_sha256=sha256,
        expected_sha1=expected.sha1 if expected else None,
        actual_sha1=sha1,
        ok=not problem,
        note=problem,
    )


def is_complete(path: Path, expected: PublishedFile) -> bool:
    """Whether the file exists with the published size and checksum.

    Raises `DataUnavailable` if it cannot be read.
    """
    try:
        same_size = is_file(path) and path.stat().st_size == expected.bytes
        return same_size and not describe_difference(expected, expected.bytes, path.read_bytes())
    except OSError as error:
        raise to_unreadable_error(path, error) from None


def describe_difference(expected: PublishedFile, size: int, content: bytes) -> str:
    """How a file of `size` bytes differs from the published one; empty if it does not.

    `content` is looked at only if the size is right.
    """
    if size != expected.bytes:
        state = "cut short" if size < expected.bytes else "not the published file"
        return f"{state}: {size:,} bytes; expected {expected.bytes:,}"
    checksum = hashlib.new(
        expected.algorithm.replace("-", "").lower(), content, usedforsecurity=False
    ).hexdigest()
    if checksum == expected.checksum:
        return ""
    return (
        f"not the published file: its {expected.algorithm} is {checksum}; expected "
        f"{expected.checksum}"
    )


def format_sizes(sizes: range) -> str:
    """Allowed sizes in words: "1,000" or "1,000 to 2,000"."""
    return f"{sizes.start:,}" if len(sizes) == 1 else f"{sizes.start:,} to {sizes.stop - 1:,}"
