"""CIFAR's formats: the binary version is read, the Python version is converted to it.

A record of the binary version is one byte per label, then 3 × 32 × 32 bytes: the red, green and
blue planes, row by row. The Python version holds the same rows in the same order; each file is a
pickled dict of an array and lists.
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

# A pickled batch also holds file names, some 30 bytes per image. These limits are generous.
_PICKLE_OVERHEAD = 0.05
_PICKLE_SLACK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CifarFormat:
    """The files, labels and folders of CIFAR-10 or CIFAR-100."""

    train: tuple[str, ...]
    """Files of the binary version; the Python version has no ``.bin``."""
    test: str
    labels: tuple[bytes, ...]
    """The labels of a record in order, by their keys in the Python version; the last is the class.
    """
    folder: str
    """In the binary archive; one mirror's archive has no folder."""
    python_folder: str

    @property
    def record_bytes(self) -> int:
        """The size of a record of the binary version."""
        return len(self.labels) + _PIXELS

    @property
    def unpack(self) -> Unpack:
        """Reads the files out of binary archives."""
        return partial(archives.unpack, folders=(self.folder, ""))

    @property
    def unpack_python(self) -> Unpack:
        """Reads Python archives and converts them to the files of the binary version."""
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


def parse(info: DataInfo, cifar: CifarFormat, contents: Mapping[str, bytes]) -> Arrays:
    """The arrays in the files of the binary version.

    Raises `DataInvalid` if a file does not consist of whole records.
    """
    train = [_read_records(contents[name], cifar, name) for name in cifar.train]
    test = _read_records(contents[cifar.test], cifar, cifar.test)
    return Arrays(
        x_train=_join_images(train, cifar, info),
        y_train=_join_classes(train, cifar),
        x_test=_join_images([test], cifar, info),
        y_test=_join_classes([test], cifar),
    )


def _read_records(content: bytes, cifar: CifarFormat, name: str) -> np.ndarray:
    if len(content) % cifar.record_bytes:
        raise DataInvalid(
            f"{name} has {len(content):,} bytes; expected a multiple of {cifar.record_bytes:,}, "
            "the size of a record."
        )
    return np.frombuffer(content, np.uint8).reshape(-1, cifar.record_bytes)


def _join_images(files: Sequence[np.ndarray], cifar: CifarFormat, info: DataInfo) -> np.ndarray:
    pixels = np.concatenate([records[:, len(cifar.labels) :] for records in files])
    return pixels.reshape(-1, *info.input_shape)


def _join_classes(files: Sequence[np.ndarray], cifar: CifarFormat) -> np.ndarray:
    return np.concatenate([records[:, len(cifar.labels) - 1] for records in files])


def _unpack_python(
    cifar: CifarFormat, archive: Path, files: Sequence[PublishedFile]
) -> Iterator[tuple[PublishedFile, bytes]]:
    wanted = {file.name.removesuffix(".bin"): file for file in files}
    sizes = {name: _estimate_pickle_sizes(file) for name, file in wanted.items()}
    for name, content in archives.read_members(archive, sizes, [cifar.python_folder]):
        file = wanted[name]
        rows = file.bytes // cifar.record_bytes
        yield file, _to_binary(unpickling.load(content, name), cifar, rows, name)


def _estimate_pickle_sizes(file: PublishedFile) -> range:
    return range(file.bytes, math.ceil(file.bytes * (1 + _PICKLE_OVERHEAD)) + _PICKLE_SLACK)


def _to_binary(batch: Any, cifar: CifarFormat, rows: int, name: str) -> bytes:
    if not isinstance(batch, dict):
        raise DataInvalid(f"{name} is not a dict. Expected a batch of CIFAR's Python version.")
    records = np.empty((rows, cifar.record_bytes), np.uint8)
    for column, key in enumerate(cifar.labels):
        records[:, column] = _require_labels(batch.get(key), rows, f"{key.decode()} of {name}")
    records[:, len(cifar.labels) :] = unpickling.to_uint8_array(
        batch.get(b"data"), (rows, _PIXELS), f"data of {name}"
    )
    return records.tobytes()


def _require_labels(values: Any, rows: int, what: str) -> list[int]:
    is_complete = isinstance(values, list) and len(values) == rows
    if not is_complete or not all(isinstance(value, int) and 0 <= value < 256 for value in values):
        raise DataInvalid(f"{what} are not {rows:,} class numbers.")
    return list(values)
