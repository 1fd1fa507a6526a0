"""Gzipped tar archives that are not trusted: members are read by exact name, never extracted.

The archive is read once from front to back, as a stream. Memory is bounded by the sizes of the
wanted members, whatever the archive claims, and a header cannot make the reader seek back.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fanin.data.dataset import PublishedFile
from fanin.data.sources.file_check import format_sizes
from fanin.errors import DataInvalid, quote

SLACK = 16 << 20
"""Bytes that an archive may hold beside the wanted members: a readme, names of classes, padding."""

_MOST_MEMBERS = 1000

# Chained headers make tarfile recurse (RecursionError); their numbers can be out of range
# (ValueError, OverflowError).
_DAMAGE = (
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RecursionError,
)


def unpack(
    archive: Path, files: Sequence[PublishedFile], *, folders: Sequence[str]
) -> Iterator[tuple[PublishedFile, bytes]]:
    """The published files in one of the `folders` of an archive; an `Unpack` of `Mirror`."""
    wanted = {file.name: file for file in files}
    sizes = {file.name: range(file.bytes, file.bytes + 1) for file in files}
    for name, content in read_members(archive, sizes, folders):
        yield wanted[name], content


def read_members(
    archive: Path, sizes: Mapping[str, range], folders: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """The members ``folder/name`` for one of `folders` and a name in `sizes`, in archive order.

    Members of other names are skipped, among them the ``._name`` that macOS adds.

    Args:
        archive: a gzipped tar file.
        sizes: name → the sizes in bytes that the member may have.
        folders: "" is the top of the archive.

    Raises `DataInvalid` if a wanted member is missing, occurs twice, is not a plain file or has
    another size; if any member is a link, a device or has a path that leads out of the archive; and
    if the archive is damaged or holds more than the wanted bytes and `SLACK`.
    """
    names = {_join_path(folder, name): name for folder in folders for name in sizes}
    limit = sum(allowed.stop for allowed in sizes.values()) + SLACK
    missing = set(sizes)
    with _open_tar(archive, limit) as tar:
        for count, member in enumerate(tar):
            if count == _MOST_MEMBERS:
                raise DataInvalid(
                    f"{archive.name} holds more than {_MOST_MEMBERS:,} members. It is not the "
                    "published archive."
                )
            _require_safe_member(member, archive.name)
            name = names.get(member.name.removeprefix("./"))
            if name is None:
                continue
            if name not in missing:
                raise DataInvalid(
                    f"{archive.name} holds {name} twice. It is not the published archive."
                )
            missing.remove(name)
            yield name, _read_member(tar, member, sizes[name], archive.name)
    if missing:
        raise DataInvalid(
            f"{archive.name} lacks {', '.join(sorted(missing))}. It is not the published archive."
        )


class _LimitedGzip(gzip.GzipFile):
    """A gzip file that raises `DataInvalid` after more than `limit` bytes."""

    def __init__(self, archive: Path, limit: int) -> None:
        super().__init__(archive, "rb")
        self._left = limit

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes."""
        block = super().read(size)
        self._left -= len(block)
        if self._left < 0:
            raise DataInvalid(
                "The archive unpacks to far more bytes than were published. It is not the "
                "published archive."
            )
        return block


@contextmanager
def _open_tar(archive: Path, limit: int) -> Iterator[tarfile.TarFile]:
    try:
        # "r|": a stream, without seeking.
        with _LimitedGzip(archive, limit) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            yield tar
    except _DAMAGE as error:
        raise DataInvalid(
            f"{archive.name} is not a complete gzipped tar archive "
            f"({error or type(error).__name__}): cut short, damaged or of another format."
        ) from None


def _require_safe_member(member: tarfile.TarInfo, archive: str) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise DataInvalid(
            f"{archive} holds a member called {quote(member.name)}, a path that leads out of it."
        )
    if not (_is_plain_file(member) or member.isdir()):
        raise DataInvalid(
            f"{archive} holds {quote(member.name)}, which is not a plain file but a link, a device "
            "or the like."
        )


def _is_plain_file(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


def _read_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, allowed: range, archive: str
) -> bytes:
    stream = tar.extractfile(member) if _is_plain_file(member) else None
    if stream is None:
        raise DataInvalid(f"{quote(member.name)} of {archive} is not a plain file.")
    if member.size not in allowed:
        raise DataInvalid(
            f"{quote(member.name)} of {archive} has {member.size:,} bytes; expected "
            f"{format_sizes(allowed)}."
        )
    content = stream.read(member.size)
    if len(content) != member.size:
        raise DataInvalid(
            f"{quote(member.name)} of {archive} is cut short: {len(content):,} of {member.size:,} "
            "bytes."
        )
    return content


def _join_path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
