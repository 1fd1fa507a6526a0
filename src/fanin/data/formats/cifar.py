"""CIFAR's formats: the binary version, which is read, and the Python version, which is turned into
it.

A record of the binary version is one byte for each label, then 3 × 32 × 32 bytes: the red, green
and blue planes, row by row. The Python version holds the same rows in the same order, as a pickled
dict of an array and lists for each file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fanin.data.dataset import Arrays, DataInfo, PublishedFile, Unpack
from fanin.data.formats import unpickling
from fanin.data.sources import archives
from fanin.errors import DataInvalid

_PIXELS = 3 * 32 * 32

# A pickled batch holds file names beside the pixels, some 30 bytes for each; this is ample.
_PICKLE_OVERHEAD = 0.05
_PICKLE_SLACK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CifarFormat:
    """How CIFAR-10 or CIFAR-100 is laid out."""

    train: tuple[str, ...]
    """Files of the binary version; the Python version's lack the ``.bin``."""
    test: str
    labels: tuple[bytes, ...]
    """The labels of a record in their order, as the Python version calls them; the last is the
    class.
    """
    folder: str
    """Of the binary archive. A known repack has no folder."""
    python_folder: str

    @property
    def unpack(self) -> Unpack:
        """Reads binary archives."""
        return partial(archives.unpack, folders=(self.folder, ""))

    @property
    def unpack_python(self) -> Unpack:
        """Reads Python archives, and turns them into the files of the binary version."""
        return partial(_unpack_python, self)


CIFAR10 = CifarFormat(
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test="test_batch.bin",
    labels=(b"labels",),
    folder="cifar-10-batches-bin",
    python_folder="cifar-10-batches-py",
)

CIFAR100 = CifarFormat(
    train=("train.bin",),
    test="test.bin",
    labels=(b"coarse_labels", b"fine_labels"),
    folder="cifar-100-binary",
    python_folder="cifar-100-python",
)


def read(info: DataInfo, layout: CifarFormat, contents: Mapping[str, bytes]) -> Arrays:
    """The arrays in the files of the binary version; raises `DataInvalid` where one does not
    consist of whole records.
    """
    train = [_read_records(contents[name], layout, name) for name in layout.train]
    test = _read_records(contents[layout.test], layout, layout.test)
    return Arrays(
        x_train=_join_images(train, layout, info),
        y_train=_join_classes(train, layout),
        x_test=_join_images([test], layout, info),
        y_test=_join_classes([test], layout),
    )


def _read_records(content: bytes, layout: CifarFormat, name: str) -> np.ndarray:
    length = len(layout.labels) + _PIXELS
    if len(content) % length:
        raise DataInvalid(
            f"{name} has {len(content):,} bytes; expected a multiple of {length:,}, the size of a "
            "record."
        )
    return np.frombuffer(content, np.uint8).reshape(-1, length)


def _join_images(files: Sequence[np.ndarray], layout: CifarFormat, info: DataInfo) -> np.ndarray:
    pixels = np.concatenate([records[:, len(layout.labels) :] for records in files])
    return pixels.reshape(-1, *info.input_shape)


def _join_classes(files: Sequence[np.ndarray], layout: CifarFormat) -> np.ndarray:
    return np.concatenate([records[:, len(layout.labels) - 1] for records in files])


def _unpack_python(
    layout: CifarFormat, archive: Path, files: Sequence[PublishedFile]
) -> Iterator[tuple[PublishedFile, bytes]]:
    wanted = {file.name.removesuffix(".bin"): file for file in files}
    sizes = {name: _allow_pickle_sizes(file) for name, file in wanted.items()}
    for name, content in archives.read_members(archive, sizes, [layout.python_folder]):
        file = wanted[name]
        rows = file.bytes // (len(layout.labels) + _PIXELS)
        yield file, _to_binary(unpickling.load(content, name), layout, rows, name)


def _allow_pickle_sizes(file: PublishedFile) -> range:
    return range(file.bytes, math.ceil(file.bytes * (1 + _PICKLE_OVERHEAD)) + _PICKLE_SLACK)


def _to_binary(batch: Any, layout: CifarFormat, rows: int, name: str) -> bytes:
    if not isinstance(batch, dict):
        raise DataInvalid(f"{name} is not a dict. Expected a batch of CIFAR's Python version.")
    records = np.empty((rows, len(layout.labels) + _PIXELS), np.uint8)
    for column, key in enumerate(layout.labels):
        records[:, column] = _require_labels(batch.get(key), rows, f"{key.decode()} of {name}")
    records[:, len(layout.labels) :] = unpickling.to_uint8_array(
        batch.get(b"data"), (rows, _PIXELS), f"data of {name}"
    )
    return records.tobytes()


def _require_labels(values: Any, rows: int, what: str) -> list[int]:
    good = isinstance(values, list) and len(values) == rows
    if not good or not all(isinstance(value, int) and 0 <= value < 256 for value in values):
        raise DataInvalid(f"{what} are not {rows:,} class numbers.")
    return list(values)
