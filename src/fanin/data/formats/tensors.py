"""From arrays to the tensors of a data set: shapes, labels, tokens and finiteness checked; and
their fingerprint.

Whatever is checked or hashed is taken a few rows at a time, so that arrays in a file need not fit
into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fanin.data.dataset import Arrays, DataInfo
from fanin.errors import DataInvalid

_BYTES_AT_ONCE = 1 << 22

Tensors = tuple[Tensor, Tensor, Tensor, Tensor]
"""The tensors of a data set, in the order of `Arrays`."""


def to_tensors(info: DataInfo, arrays: Arrays, source: str) -> Tensors:
    """The arrays as contiguous tensors of a `Dataset`.

    Raises `DataInvalid` where shapes, labels or tokens do not fit `info`, or a number is not finite
    in float32.
    """
    found: list[Tensor] = []
    for part, n in (("train", info.n_train), ("test", info.n_test)):
        x, y = getattr(arrays, f"x_{part}"), getattr(arrays, f"y_{part}")
        require_shape(x, (n, *info.input_shape), f"x_{part} of {source}")
        inputs = _inputs(x, info, f"x_{part} of {source}")
        found += [
            inputs,
            inputs if info.task == "autoencoding" else to_targets(y, info, f"y_{part} of {source}"),
        ]
    return found[0], found[1], found[2], found[3]


def to_targets(array: np.ndarray, info: DataInfo, what: str) -> Tensor:
    """Labels or targets as a `Dataset` has them; raises `DataInvalid` as `to_tensors` does. `what`
    names them in errors.
    """
    if info.task == "regression":
        require_shape(
            array, (len(array), info.outputs) if info.outputs > 1 else (len(array),), what
        )
        return _finite_float32(array, what)
    require_shape(
        array, (len(array), info.input_shape[0]) if info.per_step else (len(array),), what
    )
    return _numbers_below(array, info.outputs, what, "label", "class numbers").to(torch.int64)


def compute_fingerprint(parts: Tensors) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, so that equal arrays have one fingerprint
    whatever file held them.
    """
    digest = hashlib.sha256()
    for name, tensor in zip(Arrays._fields, parts, strict=True):
        array = tensor.numpy()
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        for _, rows in _rows(array):
            digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def require_shape(array: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    """Raise `DataInvalid` where the array has another shape."""
    if array.shape != shape:
        raise DataInvalid(f"{what} has shape {array.shape}; expected {shape}.")


def require_finite(single: np.ndarray, what: str) -> None:
    """Raise `DataInvalid`, which names the first row, where a float array holds NaN or infinity."""
    for start, rows in _rows(single):
        good = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not good.all():
            raise DataInvalid(
                f"{what} holds NaN, infinity or a number too large for float32, first in row "
                f"{start + int(good.argmin())}. "
                f"Expected finite numbers: remove such rows or fill them in."
            )


def _rows(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The array a few MiB at a time, each time with the number of its first row."""
    step = max(_BYTES_AT_ONCE // max(array[:1].nbytes, 1), 1)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def _inputs(array: np.ndarray, info: DataInfo, what: str) -> Tensor:
    if info.vocabulary is not None:
        tokens = _numbers_below(array, info.vocabulary, what, "token", "numbers")
        return tokens.to(torch.uint8 if info.vocabulary <= 256 else torch.int64)
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    return _finite_float32(array, what)


def _numbers_below(array: np.ndarray, limit: int, what: str, one: str, expected: str) -> Tensor:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= limit:
        wrong = low if low < 0 else high
        row = int(np.argwhere(array == wrong)[0][0])
        raise DataInvalid(
            f"{what} holds the {one} {wrong}, first in row {row}. Expected {expected} 0 to "
            f"{limit - 1}."
        )
    kept = array if array.dtype == np.uint8 else array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(kept))


def _finite_float32(array: np.ndarray, what: str) -> Tensor:
    with np.errstate(
        over="ignore"
    ):  # what float32 cannot hold becomes infinite, and is reported below
        single = np.ascontiguousarray(array, dtype=np.float32)
    require_finite(single, what)
    return torch.from_numpy(single)
