"""What a data set is: its description, its tensors, and the entry that the registry holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fanin.errors import DataInvalid, UsageError
from fanin.registry import Registry

Task = Literal["classification", "regression", "token_classification", "autoencoding"]
"""A class, or one number or several, for each sample; a class for each step of a sequence; the input itself."""

Kind = Literal["image", "table", "sequence", "tokens"]

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is known of a data set before its arrays are read."""

    name: str
    task: Task
    input_shape: tuple[int, ...]
    """(C, H, W) for images, (features,) for tables, (steps, features) for sequences, (steps,) for sequences of tokens."""
    outputs: int
    """Number of classes, or of targets: 1 for most regressions, the size of the input for autoencoding."""
    n_train: int
    n_test: int
    vocabulary: int | None = None
    """Inputs are tokens, numbers from 0 to below this; None where they are not."""

    @property
    def kind(self) -> Kind:
        """What one input is."""
        if self.vocabulary is not None:
            return "tokens"
        kinds: dict[int, Kind] = {1: "table", 2: "sequence", 3: "image"}
        return kinds[len(self.input_shape)]

    @property
    def per_step(self) -> bool:
        """Whether there is a target for each step of a sequence."""
        return self.task == "token_classification"


class Arrays(NamedTuple):
    """The four arrays of a data set.

    Images (N, C, H, W) and sequences (N, steps, features), uint8 or float; tables (N, features) float; tokens (N, steps) of
    whole numbers. Labels or targets (N,), targets (N, outputs) where there are several, labels (N, steps) where each step has
    one.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    ``x / divisor`` is what a model sees of an image; a table is standardised instead where `standardise` says so. Both happen
    in `fanin.data.prepare` and in the training engine, so uint8 images stay uint8 here.
    """

    info: DataInfo
    x_train: Tensor
    """uint8 or float32 (N, C, H, W), or float32 (N, features); contiguous."""
    y_train: Tensor
    """int64 (N,) class numbers, or float32 (N,) targets in their own units."""
    x_test: Tensor
    y_test: Tensor
    divisor: float
    standardise: bool
    fingerprint: str
    """SHA-256 over names, dtypes, shapes and bytes of the four tensors."""
    canonical: bool
    """True where the bytes read were the published ones; False for a user's own copy."""
    source: str
    units: str
    """Units of a regression target; empty for classification."""


@dataclass(frozen=True, kw_only=True)
class CanonicalFile:
    """A published file, recognised by its size and its SHA-256, or by its SHA-1 where nobody published another checksum."""

    name: str
    bytes: int
    sha256: str | None = None
    sha1: str | None = None

    def __post_init__(self) -> None:
        if not (self.sha256 or self.sha1):
            raise UsageError(f"{self.name} has no checksum. Give its SHA-256, or the SHA-1 that was published.")

    @property
    def checksum(self) -> str:
        """The checksum that the file must have: `sha256` where it is known."""
        return self.sha256 or str(self.sha1)

    @property
    def algorithm(self) -> str:
        """Name of that checksum: SHA-256 or SHA-1."""
        return "SHA-256" if self.sha256 else "SHA-1"


Unpack = Callable[[Path, Sequence[CanonicalFile]], Iterator[tuple[CanonicalFile, bytes]]]
"""Takes an archive and the files wanted of it; yields each with its content, raises `DataInvalid` where one is not in it."""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A place that published files are downloaded from: a folder of them, or one archive.

    Plain HTTP will do: nothing is kept before its size and checksum are those of a `CanonicalFile`.
    """

    url: str
    """Of a folder, with a slash at the end, the files lying in it under their own names; or of an archive."""
    unpack: Unpack | None = None
    """How the files come out of the archive; None for a folder."""
    bytes: int | None = None
    sha256: str | None = None
    """Size and checksum of the archive as published, where they are known."""
    exact: bool = False
    """Open nothing but the archive with this SHA-256. Otherwise any archive will do whose members have the right checksums."""

    def __post_init__(self) -> None:
        if self.exact and not self.sha256:
            raise UsageError(f"The mirror {self.url} asks for one very archive. Give its SHA-256.")


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A registered data set: how its arrays come out of its published files.

    `read` gets the contents of `files` by name, size and checksum matched, and returns the arrays. Where it is None the data
    set is read from the user's own NPZ copy only; where `package` is given it comes out of that installed package.
    `mirrors` are where the files are downloaded from, best first.
    """

    info: DataInfo
    title: str
    reference: str
    files: tuple[CanonicalFile, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    read: Callable[[Mapping[str, bytes]], Arrays] | None = None
    package: str = ""
    divisor: float = 1.0
    standardise: bool = False
    units: str = ""

    @property
    def name(self) -> str:
        return self.info.name


REGISTRY: Registry[DatasetEntry] = Registry("dataset", DatasetEntry)


def tensors(info: DataInfo, arrays: Arrays, source: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arrays as contiguous tensors of a `Dataset`, in the order of `Arrays`.

    Raises `DataInvalid` where shapes or labels do not fit `info`, or a number is not finite in float32.
    """
    for part, n in (("train", info.n_train), ("test", info.n_test)):
        _expect_shape(getattr(arrays, f"x_{part}"), (n, *info.input_shape), f"x_{part} of {source}")
        _expect_shape(getattr(arrays, f"y_{part}"), (n,), f"y_{part} of {source}")
    return (
        _inputs(arrays.x_train, f"x_train of {source}"),
        _targets(arrays.y_train, info, f"y_train of {source}"),
        _inputs(arrays.x_test, f"x_test of {source}"),
        _targets(arrays.y_test, info, f"y_test of {source}"),
    )


def fingerprint(parts: tuple[Tensor, Tensor, Tensor, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, so that equal arrays have one fingerprint whatever file held them."""
    digest = hashlib.sha256()
    for name, tensor in zip(Arrays._fields, parts, strict=True):
        array = tensor.numpy()
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _expect_shape(array: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    if array.shape != shape:
        raise DataInvalid(f"{what} has shape {array.shape}; expected {shape}.")


def _inputs(array: np.ndarray, what: str) -> Tensor:
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    return _finite_float32(array, what)


def _targets(array: np.ndarray, info: DataInfo, what: str) -> Tensor:
    return _finite_float32(array, what) if info.task == "regression" else _labels(array, info.outputs, what)


def _labels(array: np.ndarray, classes: int, what: str) -> Tensor:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        row = int(np.flatnonzero(array == wrong)[0])
        raise DataInvalid(f"{what} holds the label {wrong}, first in row {row}. Expected class numbers 0 to {classes - 1}.")
    return torch.from_numpy(array.astype(np.int64))


def _finite_float32(array: np.ndarray, what: str) -> Tensor:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported below
        single = np.ascontiguousarray(array, dtype=np.float32)
    for start in range(0, len(single), _ROWS_AT_ONCE):
        rows = single[start : start + _ROWS_AT_ONCE]
        good = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not good.all():
            raise DataInvalid(
                f"{what} holds NaN, infinity or a number too large for float32, first in row {start + int(good.argmin())}. "
                f"Expected finite numbers: remove such rows or fill them in."
            )
    return torch.from_numpy(single)
