"""Samples without a test set: divided once, by a stated seed, into training and test samples."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fanin import seeds
from fanin.data.dataset import Arrays
from fanin.data.formats.npz import open_npz
from fanin.data.split import split
from fanin.errors import DataInvalid, UsageError, quote

TEST_SHARE = 0.2

_INPUTS, _TARGETS = ("x", "X"), ("y", "Y")


@dataclass(frozen=True)
class UnsplitArrays:
    """Inputs (N, …) and targets (N,) or (N, …), and what else describes them."""

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] = ()
    """The names of the classes, if they have any."""
    marks: tuple[tuple[str, np.ndarray], ...] = ()
    """Further arrays that describe the data set, such as its vocabulary."""


def read_unsplit(file: Path) -> UnsplitArrays | None:
    """The arrays x and y (or X and Y) of an NPZ file that has no others to train on; None if it is
    divided already, or holds neither.
    """
    with open_npz(file, str(file)) as npz:
        found = {name: npz.headers[name] for name in (*_INPUTS, *_TARGETS) if name in npz.headers}
        inputs = [name for name in _INPUTS if name in found]
        targets = [name for name in _TARGETS if name in found]
        if not inputs or not targets or any(name in npz.headers for name in Arrays._fields):
            return None
        x, y = npz.read(inputs[0]), npz.read(targets[0])
        marks = [name for name in ("classes", "kind", "vocabulary") if name in npz.headers]
        return UnsplitArrays(x, y, marks=tuple((name, npz.read(name)) for name in marks))


def divide(
    unsplit: UnsplitArrays,
    source: str,
    *,
    test: float = TEST_SHARE,
    seed: int = 0,
    standardise: bool = False,
) -> dict[str, np.ndarray]:
    """The four arrays of a data set, and what describes them, by name.

    Args:
        unsplit: the samples. Those with one class number each are divided class by class.
        source: what holds them, for errors.
        test: the share of test samples.
        seed: draws them; the same seed draws the same samples.
        standardise: subtract the mean of each column of a table and divide by its standard
            deviation, both of the training samples.

    Raises `UsageError` for a share or a seed that cannot be, and `DataInvalid` for samples that
    cannot be divided.
    """
    x, y = unsplit.x, unsplit.y
    if isinstance(test, bool) or not isinstance(test, (int, float)) or not 0 < test < 1:
        raise UsageError(
            f"The share of test samples lies between 0 and 1, such as 0.2; received {quote(test)}."
        )
    if x.ndim < 1 or y.ndim < 1 or len(x) != len(y) or len(x) < 2:
        raise DataInvalid(
            f"{source} holds inputs of shape {x.shape} and targets of shape {y.shape}. Expected as "
            "many of both, two or more."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    is_class = y.ndim == 1 and y.dtype.kind in "iu"
    if is_class and int(y.min()) < 0:
        raise DataInvalid(f"The labels of {source} begin at {y.min()}. Expected numbers from 0.")
    labels = torch.from_numpy(y.astype(np.int64)) if is_class else torch.zeros(len(y))
    generator = seeds.make_generator(seeds.check_seed(seed), "test samples")
    kept, held_out = split(labels, fraction=test, stratified=is_class, generator=generator)
    train, other = kept.numpy(), held_out.numpy()
    if standardise:
        x = _standardise(x, train, source)
    names = {"classes": np.array(unsplit.classes)} if unsplit.classes else {}
    return {
        "x_train": x[train],
        "y_train": y[train],
        "x_test": x[other],
        "y_test": y[other],
        **names,
        **dict(unsplit.marks),
    }


def write_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an NPZ file with these arrays; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def _standardise(x: np.ndarray, train: np.ndarray, source: str) -> np.ndarray:
    if x.ndim != 2 or x.dtype.kind != "f":
        raise UsageError(
            f"The inputs of {source} are {x.dtype} of shape {x.shape}. Only the columns of a float "
            "table (N, features) are standardised."
        )
    exact = x.astype(np.float64)
    mean, deviation = exact[train].mean(axis=0), exact[train].std(axis=0)
    standardised: np.ndarray = (exact - mean) / np.where(deviation > 0, deviation, 1.0)
    return standardised
