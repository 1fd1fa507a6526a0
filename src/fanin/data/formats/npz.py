"""NPZ files that are not trusted: headers are checked first, and nothing is unpickled."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fanin.data.formats import mapped_samples
from fanin.data.sources.data_folder import to_unreadable_error
from fanin.errors import DataInvalid

# Deflate reaches at most about 1,000 to 1, and only on constant bytes; images and tables stay below
# 50 to 1.
_BOMB_RATIO = 200
_BOMB_BYTES = 64 << 20

_BLOCK = 1 << 20

# A damaged file makes zipfile raise other errors than its own: a seek to a negative position
# (OSError), an unknown compression (NotImplementedError), a flag that means encrypted
# (RuntimeError), fields cut short (struct.error).
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class Header(NamedTuple):
    """Shape and dtype of an array, read without its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype


class _Storage(NamedTuple):
    """How an array is stored in its member of the archive."""

    start: int
    """Offset of its numbers."""
    fortran: bool
    """Columns first."""


class NpzFile:
    """An open NPZ file with a checked structure: unique members, plain dtypes, consistent sizes."""

    def __init__(self, archive: zipfile.ZipFile, file: Path, name: str) -> None:
        self._archive = archive
        self._file = file
        self._name = name
        self._members = _list_members(archive, name)
        parsed = {array: self._check_header(array) for array in self._members}
        self.headers = {array: header for array, (header, _) in parsed.items()}
        self._storage = {array: storage for array, (_, storage) in parsed.items()}
        memory = _measure_memory()
        total = sum(member.file_size for member in self._members.values())
        self._large = total >= min(mapped_samples.read_mapping_threshold(), memory)
        self._require_memory(memory)

    def is_mappable(self, array: str) -> bool:
        """Whether the array should be mapped: inputs of a large file, stored uncompressed."""
        member, dtype = self._members[array], self.headers[array].dtype
        plain = (
            dtype in (np.uint8, np.dtype("<f4"))
            and dtype.isnative
            and not self._storage[array].fortran
        )
        stored = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        return self._large and array.startswith("x_") and stored and plain

    def map(self, array: str) -> np.ndarray:
        """One array, mapped into memory after its checksum was verified block by block."""
        member = self._members[array]
        with _explain_damage(self._name), self._archive.open(member) as stream:
            while stream.read(_BLOCK):
                pass
        with _explain_damage(self._name):
            offset = _find_offset(self._archive, member) + self._storage[array].start
        return mapped_samples.map_array(self._file, offset, *self.headers[array])

    def read(self, array: str) -> np.ndarray:
        """One array. Raises `DataInvalid` if its bytes are damaged."""
        with _explain_damage(self._name), self._archive.open(self._members[array]) as stream:
            values: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read(1)  # zipfile verifies the checksum at the end of a member
        return values

    def _check_header(self, array: str) -> tuple[Header, _Storage]:
        what = f"{array} of {self._name}"
        member = self._members[array]
        with self._archive.open(member) as stream:
            header, fortran = _read_header(stream, what)
            start = stream.tell()
        if header.dtype.hasobject:
            raise DataInvalid(
                f"{what} holds Python objects (a pickle), which are never loaded. Expected plain "
                "numbers."
            )
        declared = start + math.prod(header.shape) * header.dtype.itemsize
        if min(header.shape, default=0) < 0 or declared != member.file_size:
            raise DataInvalid(
                f"{what} declares shape {header.shape} of {header.dtype}, {declared:,} bytes; the "
                f"file holds {member.file_size:,}. Save it again with numpy.savez."
            )
        return header, _Storage(start, fortran)

    def _require_memory(self, memory: float) -> None:
        needed = sum(
            member.file_size
            for array, member in self._members.items()
            if not self.is_mappable(array)
        )
        if needed > memory:
            raise DataInvalid(
                f"{self._name} needs {needed:,} bytes of memory; this machine has {memory:,}. Save "
                "a smaller part of it, or save x_train and x_test as uint8 or float32 with "
                "numpy.savez, uncompressed: then they are read from the file during training."
            )


@contextmanager
def open_npz(file: Path, name: str) -> Iterator[NpzFile]:
    """Open an NPZ file, which is called `name` in messages.

    Raises `DataInvalid` if anything is wrong with the file, and `DataUnavailable` if it cannot be
    read.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(file.open("rb"))
        except OSError as error:
            raise to_unreadable_error(file, error) from None
        with _explain_damage(name):
            npz = NpzFile(stack.enter_context(zipfile.ZipFile(stream)), file, name)
        yield npz


@contextmanager
def _explain_damage(name: str) -> Iterator[None]:
    """Raise the errors of zipfile, zlib and NumPy for a damaged file as `DataInvalid`."""
    try:
        yield
    except _DAMAGE as error:
        raise DataInvalid(
            f"{name} is not a complete NPZ file ({error or type(error).__name__}): cut short, "
            "damaged or of another format. Expected one written by numpy.savez or "
            "numpy.savez_compressed."
        ) from None


def _list_members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        array = member.filename.removesuffix(".npy")
        if array in members:
            raise DataInvalid(f"{name} holds {array} twice. Save it again with numpy.savez.")
        members[array] = member
    _check_sizes(list(members.values()), name)
    return members


def _check_sizes(members: list[zipfile.ZipInfo], name: str) -> None:
    for member in members:
        if member.file_size > max(_BOMB_BYTES, _BOMB_RATIO * member.compress_size):
            raise DataInvalid(
                f"{member.filename} of {name} claims to unpack from {member.compress_size:,} to "
                f"{member.file_size:,} bytes, more than {_BOMB_RATIO} to 1. If the data are "
                "genuine, save them with numpy.savez, uncompressed."
            )


def _measure_memory() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # unknown on this system
        return math.inf


def _find_offset(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Offset of a stored member's bytes in the file: behind the local header, which has lengths of
    its own.
    """
    stream = archive.fp
    if stream is None:
        raise ValueError("closed")
    stream.seek(member.header_offset)
    name_length, extra_length = struct.unpack("<26xHH", stream.read(30))
    return int(member.header_offset + 30 + name_length + extra_length)


def _read_header(stream: IO[bytes], what: str) -> tuple[Header, bool]:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream)
    except (ValueError, KeyError):
        raise DataInvalid(
            f"{what} is not an array in NumPy's format. Save it again with numpy.savez."
        ) from None
    return Header(shape, dtype), fortran
