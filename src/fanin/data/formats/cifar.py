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

from fanin.data.dataset import Arrays, CanonicalFile, DataInfo, Unpack
from fanin.data.formats import unpickling
from fanin.data.sources import archives
from fanin.errors import DataInvalid

_PIXELS = 3 * 32 * 32

# A pickled batch holds file names beside the pixels, some 30 bytes for each; this is ample.
_PICKLE_OVERHEAD = 0.05
_PICKLE_SLACK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Layout:
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
        return partial(_from_python, self)


CIFAR10 = Layout(
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test="test_batch.bin",
    labels=(b"labels",),
    folder="cifar-10-batches-bin",
    python_folder="cifar-10-batches-py",
)

CIFAR100 = Layout(
    train=("train.bin",),
    test="test.bin",
    labels=(b"coarse_labels", b"fine_labels"),
    folder="cifar-100-binary",
    python_folder="cifar-100-python",
)


def read(info: DataInfo, layout: Layout, contents: Mapping[str, bytes]) -> Arrays:
    """The arrays in the files of the binary version; raises `DataInvalid` where one does not
    consist of whole records.
    """
    train = [_records(contents[name], layout, name) for name in layout.train]
    test = _records(contents[layout.test], layout, layout.test)
    return Arrays(
        x_train=_images(train, layout, info),
        y_train=_classes(train, layout),
        x_test=_images([test], layout, info),
        y_test=_classes([test], layout),
    )


def _records(content: bytes, layout: Layout, name: str) -> np.ndarray:
    length = len(layout.labels) + _PIXELS
    if len(content) % length:
        raise DataInvalid(
            f"{name} has {len(content):,} bytes; expected a multiple of {length:,}, the size of a "
            "record."
        )
    return np.frombuffer(content, np.uint8).reshape(-1, length)


def _images(files: Sequence[np.ndarray], layout: Layout, info: DataInfo) -> np.ndarray:
    pixels = np.concatenate([records[:, len(layout.labels) :] for records in files])
    return pixels.reshape(-1, *info.input_shape)


def _classes(files: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
    return np.concatenate([records[:, len(layout.labels) - 1] for records in files])


def _from_python(
    layout: Layout, archive: Path, files: Sequence[CanonicalFile]
) -> Iterator[tuple[CanonicalFile, bytes]]:
    wanted = {file.name.removesuffix(".bin"): file for file in files}
    sizes = {name: _pickle_sizes(file) for name, file in wanted.items()}
    for name, content in archives.contents(archive, sizes, [layout.python_folder]):
        file = wanted[name]
        rows = file.bytes // (len(layout.labels) + _PIXELS)
        yield file, _binary(unpickling.load(content, name), layout, rows, name)


def _pickle_sizes(file: CanonicalFile) -> range:
    return range(file.bytes, math.ceil(file.bytes * (1 + _PICKLE_OVERHEAD)) + _PICKLE_SLACK)


def _binary(batch: Any, layout: Layout, rows: int, name: str) -> bytes:
    if not isinstance(batch, dict):
        raise DataInvalid(f"{name} is not a dict. Expected a batch of CIFAR's Python version.")
    records = np.empty((rows, len(layout.labels) + _PIXELS), np.uint8)
    for column, key in enumerate(layout.labels):
        records[:, column] = _labels(batch.get(key), rows, f"{key.decode()} of {name}")
    records[:, len(layout.labels) :] = unpickling.uint8_array(
        batch.get(b"data"), (rows, _PIXELS), f"data of {name}"
    )
    return records.tobytes()


def _labels(values: Any, rows: int, what: str) -> list[int]:
    good = isinstance(values, list) and len(values) == rows
    if not good or not all(isinstance(value, int) and 0 <= value < 256 for value in values):
        raise DataInvalid(f"{what} are not {rows:,} class numbers.")
    return list(values)
