"""IDX, the format of MNIST and Fashion-MNIST, gzipped.

A big-endian header (magic number, sizes) is followed by unsigned bytes.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib

import numpy as np

from fanin.errors import DataInvalid

_UNSIGNED_BYTE = 0x08
_CHUNK = 1 << 20


def parse(content: bytes, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The uint8 array of `shape` in the gzipped IDX file `content`.

    Only the bytes that `shape` needs are unpacked, whatever the file claims to hold. Raises
    `DataInvalid` if the magic number, the sizes or the length differ; `name` is the file's name in
    messages.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            _check_header(stream.read(4 * (1 + len(shape))), shape, name)
            array = _read(stream, shape, name)
            if stream.read(1):
                raise DataInvalid(
                    f"{name} holds more than the {array.nbytes:,} values of the expected shape "
                    f"{shape}."
                )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataInvalid(
            f"{name} is not a complete gzip file ({error}). Expected gzipped IDX: copy the file "
            "again."
        ) from None
    return array


def _check_header(header: bytes, shape: tuple[int, ...], name: str) -> None:
    expected = (_UNSIGNED_BYTE << 8 | len(shape), *shape)
    if len(header) < 4 * len(expected):
        raise DataInvalid(
            f"{name} ends within its IDX header ({len(header)} bytes). Copy the file again."
        )
    received = struct.unpack(f">{len(expected)}I", header)
    if received[0] != expected[0]:
        raise DataInvalid(
            f"{name} begins with the number {received[0]}; expected IDX's magic number "
            f"{expected[0]}."
        )
    if received != expected:
        raise DataInvalid(f"{name} declares shape {received[1:]}; expected {shape}.")


def _read(stream: gzip.GzipFile, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.empty(math.prod(shape), dtype=np.uint8)
    filled = 0
    while filled < array.size:
        count = stream.readinto(array[filled : filled + _CHUNK].data)
        if not count:
            raise DataInvalid(
                f"{name} holds {filled:,} values; expected {array.size:,} for shape {shape}. Copy "
                "it again."
            )
        filled += count
    return array.reshape(shape)
