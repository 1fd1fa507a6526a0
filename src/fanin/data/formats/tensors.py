"""Arrays become the checked tensors of a data set, and get a fingerprint.

Checks and hashes read a few rows at a time, so arrays in a file need not fit into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fanin.data.dataset import SUBSETS, Arrays, DataInfo
from fanin.data.formats.precision import find_lost_columns, require_single
from fanin.errors import DataInvalid

_BYTES_AT_ONCE = 1 << 22

Tensors = tuple[Tensor, Tensor, Tensor, Tensor]
"""The tensors of a data set, in the order of `Arrays`."""


def to_tensors(
    info: DataInfo, arrays: Arrays, source: str, *, standardise: bool = False
) -> Tensors:
    """The arrays as contiguous tensors of a `Dataset`; `source` names them in errors.

    Raises `DataInvalid` if shapes, labels or tokens do not fit `info`, or a number is not finite in
    float32, or float32 cannot hold a column of inputs that are not standardised.
    """
    inputs: list[Tensor] = []
    for subset, n in zip(SUBSETS, (info.n_train, info.n_test), strict=True):
        x, what = getattr(arrays, f"x_{subset}"), f"x_{subset} of {source}"
        require_shape(x, (n, *info.input_shape), what)
        inputs.append(_to_inputs(x, info, what))
        if not standardise:
            require_single(x, what, by_column=info.kind == "table")
    pair = (arrays.x_train, arrays.x_test)
    if standardise and any(find_lost_columns(x, by_column=info.kind == "table") for x in pair):
        inputs = [torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64)) for x in pair]
    if info.task == "autoencoding":
        return inputs[0], inputs[0], inputs[1], inputs[1]
    y_train, y_test = to_targets(arrays.y_train, arrays.y_test, info, source)
    return inputs[0], y_train, inputs[1], y_test


def to_targets(
    y_train: np.ndarray, y_test: np.ndarray, info: DataInfo, source: str
) -> tuple[Tensor, Tensor]:
    """Labels or targets as a `Dataset` holds them; arguments and errors as for `to_tensors`.

    Targets that float32 cannot hold stay float64: `fanin.data.prepare` centres them.
    """
    pair = (y_train, y_test)
    whats = [f"y_{subset} of {source}" for subset in SUBSETS]
    train, test = (_to_targets(y, info, what) for y, what in zip(pair, whats, strict=True))
    if info.task == "regression" and any(find_lost_columns(y, by_column=True) for y in pair):
        train, test = (torch.from_numpy(np.ascontiguousarray(y, dtype=np.float64)) for y in pair)
    return train, test


def _to_targets(array: np.ndarray, info: DataInfo, what: str) -> Tensor:
    if info.task == "regression":
        require_shape(
            array, (len(array), info.outputs) if info.outputs > 1 else (len(array),), what
        )
        return _to_finite_float32(array, what)
    require_shape(
        array, (len(array), info.input_shape[0]) if info.per_step else (len(array),), what
    )
    return _to_indices(array, info.outputs, what, "label", "class numbers").to(torch.int64)


def compute_fingerprint(tensors: Tensors) -> str:
    """SHA-256 of names, dtypes, shapes and bytes: equal arrays have one fingerprint.

    It does not depend on the file that held them.
    """
    digest = hashlib.sha256()
    for name, tensor in zip(Arrays._fields, tensors, strict=True):
        array = tensor.numpy()
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        for _, rows in _split_rows(array):
            digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def require_shape(array: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    """Raise `DataInvalid` if the array has another shape."""
    if array.shape != shape:
        raise DataInvalid(f"{what} has shape {array.shape}; expected {shape}.")


def require_finite(single: np.ndarray, what: str) -> None:
    """Raise `DataInvalid`, naming the first row, if a float32 array holds NaN or infinity."""
    for start, rows in _split_rows(single):
        is_finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not is_finite.all():
            raise DataInvalid(
                f"{what} holds NaN, infinity or a number too large for float32, first in row "
                f"{start + int(is_finite.argmin())}. Expected finite numbers: remove such rows or "
                "fill them in."
            )


def _split_rows(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of a few MiB, each with the number of its first row."""
    step = max(_BYTES_AT_ONCE // max(array[:1].nbytes, 1), 1)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def _to_inputs(array: np.ndarray, info: DataInfo, what: str) -> Tensor:
    if info.vocabulary is not None:
        tokens = _to_indices(array, info.vocabulary, what, "token", "numbers")
        return tokens.to(torch.uint8 if info.vocabulary <= 256 else torch.int64)
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    return _to_finite_float32(array, what)


def _to_indices(array: np.ndarray, limit: int, what: str, one: str, expected: str) -> Tensor:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= limit:
        wrong = low if low < 0 else high
        row = int(np.argwhere(array == wrong)[0][0])
        raise DataInvalid(
            f"{what} holds the {one} {wrong}, first in row {row}. Expected {expected} 0 to "
            f"{limit - 1}."
        )
    indices = array if array.dtype == np.uint8 else array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(indices))


def _to_finite_float32(array: np.ndarray, what: str) -> Tensor:
    with np.errstate(over="ignore"):  # numbers too large for float32 become infinite
        single = np.ascontiguousarray(array, dtype=np.float32)
    require_finite(single, what)
    return torch.from_numpy(single)
