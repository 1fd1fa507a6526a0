"""NPZ files of unknown origin: headers are checked before arrays are read, and nothing is unpickled."""

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

from fanin.data.folder import unreadable
from fanin.errors import DataInvalid

# Deflate reaches at most about 1,000 to 1, and only on constant bytes; images and tables stay below 50 to 1.
_BOMB_RATIO = 200
_BOMB_BYTES = 64 << 20

# Beside its own error zipfile lets through what a damaged file makes its parts raise: a seek to a negative position (OSError),
# an unknown compression (NotImplementedError), a flag that says encrypted (RuntimeError), fields cut short (struct.error).
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class Header(NamedTuple):
    """What an array of an NPZ file says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype


class NpzFile:
    """An open NPZ file whose structure was checked: unique members, plain dtypes, sizes that agree with one another."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name
        self._members = _members(archive, name)
        self.headers = {array: self._header(array) for array in self._members}

    def read(self, array: str) -> np.ndarray:
        """One array. Raises `DataInvalid` where its bytes are damaged."""
        with _damage_explained(self._name), self._archive.open(self._members[array]) as stream:
            values: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read(1)  # at the end of a member the zip module compares its checksum
        return values

    def _header(self, array: str) -> Header:
        what = f"{array} of {self._name}"
        member = self._members[array]
        with self._archive.open(member) as stream:
            header = _parse_header(stream, what)
            start = stream.tell()
        if header.dtype.hasobject:
            raise DataInvalid(f"{what} holds Python objects (a pickle), which are never loaded. Expected plain numbers.")
        declared = start + math.prod(header.shape) * header.dtype.itemsize
        if min(header.shape, default=0) < 0 or declared != member.file_size:
            raise DataInvalid(
                f"{what} declares shape {header.shape} of {header.dtype}, {declared:,} bytes; the file holds "
                f"{member.file_size:,}. Save it again with numpy.savez."
            )
        return header


@contextmanager
def opened(file: Path, name: str) -> Iterator[NpzFile]:
    """The NPZ file, called `name` in messages.

    Raises `DataInvalid` for whatever is wrong with the file, `DataUnavailable` where it may not be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(file.open("rb"))
        except OSError as error:
            raise unreadable(file, error) from None
        with _damage_explained(name):
            npz = NpzFile(stack.enter_context(zipfile.ZipFile(stream)), name)
        yield npz


@contextmanager
def _damage_explained(name: str) -> Iterator[None]:
    """What zipfile, zlib and NumPy raise for a damaged file, as `DataInvalid`."""
    try:
        yield
    except _DAMAGE as error:
        raise DataInvalid(
            f"{name} is not a complete NPZ file ({error or type(error).__name__}): cut short, damaged or of another format. "
            f"Expected one written by numpy.savez or numpy.savez_compressed."
        ) from None


def _members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
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
                f"{member.filename} of {name} claims to unpack from {member.compress_size:,} to {member.file_size:,} bytes, "
                f"more than {_BOMB_RATIO} to 1. If these are true data, save them with numpy.savez, uncompressed."
            )
    total, memory = sum(member.file_size for member in members), _memory_bytes()
    if total > memory:
        raise DataInvalid(f"{name} needs {total:,} bytes of memory; this machine has {memory:,}. Save a smaller part of it.")


def _memory_bytes() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # where the system does not say
        return math.inf


def _parse_header(stream: IO[bytes], what: str) -> Header:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(stream)
    except (ValueError, KeyError):
        raise DataInvalid(f"{what} is not an array in NumPy's format. Save it again with numpy.savez.") from None
    return Header(shape, dtype)
