"""A user's own copy of a data set: ``<name>/<name>.npz`` with the arrays x_train, y_train, x_test
and y_test.

uint8 images (N, H, W) or (N, H, W, C) are divided by 255 on their way into the model, float arrays
are taken as they are; integer labels make a classification, float targets (N,) or (N, k) a
regression of one number or k. An array `classes`, where there is one, tells the number of classes;
otherwise it is the largest label plus one.

A large file is not read whole: its inputs, if they were saved uncompressed as uint8 or float32, are
mapped, and read batch by batch while training. From how many megabytes on, ``FANIN_MAP_FROM`` says
(1000).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from fanin.data.dataset import Arrays, DataInfo, Dataset, DatasetEntry, Task
from fanin.data.formats import mapped_samples
from fanin.data.formats.npz import Header, NpzFile, open_npz
from fanin.data.formats.tensors import (
    Tensors,
    compute_fingerprint,
    require_finite,
    to_targets,
    to_tensors,
)
from fanin.errors import DataInvalid

Part = Literal["train", "test"]

_PARTS: tuple[Part, Part] = ("train", "test")

# Above this, more classes than rows mean that somebody saved the targets of a regression as
# integers.
_PLAUSIBLE_CLASSES = 1000


def read(file: Path, name: str, entry: DatasetEntry | None = None) -> Dataset:
    """The data set in `file`. With the registered `entry` of that name, shape and outputs must be
    the entry's.

    Raises `DataInvalid` for whatever the file should not hold; nothing in it is ever unpickled.
    """
    with open_npz(file, str(file)) as npz:
        info = _info(npz, name, file, entry)
        # A table that is to be standardised is changed as a whole.
        mapped = npz.maps("x_train") and npz.maps("x_test") and not (entry and entry.standardise)
        parts = (_mapped if mapped else _read)(npz, info, file)
        divisor = 255.0 if npz.headers["x_train"].dtype == np.uint8 else 1.0
    return Dataset(
        info,
        *parts,
        divisor=divisor,
        standardise=entry.standardise if entry else False,
        fingerprint=compute_fingerprint(parts),
        published=False,
        source=f"user's copy {file.name}",
        units=entry.units if entry else "",
        mapped=mapped,
    )


def from_arrays(arrays: Mapping[str, np.ndarray], name: str) -> Dataset:
    """The data set of arrays in memory, under the rules of a file; errors call it `name`."""
    held = _Held(arrays)
    info = _info(held, name, name, None)
    parts = _read(held, info, name)
    return Dataset(
        info,
        *parts,
        divisor=255.0 if held.headers["x_train"].dtype == np.uint8 else 1.0,
        standardise=False,
        fingerprint=compute_fingerprint(parts),
        published=False,
        source=name,
        units="",
    )


class _Source(Protocol):
    """Arrays by name, in a file or in memory."""

    headers: dict[str, Header]

    def read(self, array: str) -> np.ndarray: ...


class _Held:
    """Arrays in memory, read as those of a file are."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self.headers = {name: Header(array.shape, array.dtype) for name, array in arrays.items()}

    def read(self, array: str) -> np.ndarray:
        """The array as it is."""
        return self._arrays[array]


def _read(npz: _Source, info: DataInfo, file: Path | str) -> Tensors:
    x_train, x_test = (_channels_first(npz.read(f"x_{part}")) for part in _PARTS)
    arrays = Arrays(
        np.ascontiguousarray(x_train),
        _targets(npz, "train"),
        np.ascontiguousarray(x_test),
        _targets(npz, "test"),
    )
    return to_tensors(info, arrays, str(file))


def _mapped(npz: NpzFile, info: DataInfo, file: Path) -> Tensors:
    found = []
    for part in _PARTS:
        x = npz.map(f"x_{part}")
        if x.dtype != np.uint8:
            require_finite(x, f"x_{part} of {file}")
        found += [
            mapped_samples.as_tensor(_channels_first(x)),
            to_targets(_targets(npz, part), info, f"y_{part} of {file}"),
        ]
    return found[0], found[1], found[2], found[3]


def _targets(npz: _Source, part: Part) -> np.ndarray:
    """(N,), or (N, k) where there are several targets."""
    y = npz.read(f"y_{part}")
    return y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y


def describe(file: Path, name: str, entry: DatasetEntry | None = None) -> DataInfo:
    """What `file` holds, from its headers; labels are read too where nothing else tells the number
    of classes.
    """
    with open_npz(file, str(file)) as npz:
        return _info(npz, name, file, entry)


def _info(npz: _Source, name: str, file: Path | str, entry: DatasetEntry | None) -> DataInfo:
    headers = npz.headers
    missing = [array for array in Arrays._fields if array not in headers]
    if missing:
        present = ", ".join(headers) or "no arrays"
        raise DataInvalid(
            f"{file} lacks {', '.join(missing)}: it holds {present}. Expected "
            f"{', '.join(Arrays._fields)}."
        )
    task = _task(headers, file)
    shape = _input_shape(headers, file)
    for part in _PARTS:
        _check_lengths(headers, part, file)
    if task == "regression":
        outputs = _columns(headers, file)
    else:
        _refuse_columns(headers, file)
        outputs = entry.info.outputs if entry else _classes(npz, file)
    rows = {f"n_{part}": headers[f"x_{part}"].shape[0] for part in _PARTS}
    info = DataInfo(name=name, task=task, input_shape=shape, outputs=outputs, **rows)
    if entry:
        _check_entry(info, entry.info, file)
    return info


def _task(headers: dict[str, Header], file: Path | str) -> Task:
    kinds = {headers[f"y_{part}"].dtype.kind for part in _PARTS}
    if kinds <= {"i", "u"}:
        return "classification"
    if kinds == {"f"}:
        return "regression"
    received = " and ".join(str(headers[f"y_{part}"].dtype) for part in _PARTS)
    raise DataInvalid(
        f"y_train and y_test of {file} are {received}. Expected integer labels or float targets in "
        "both."
    )


def _input_shape(headers: dict[str, Header], file: Path | str) -> tuple[int, ...]:
    (train_shape, train), (test_shape, test) = headers["x_train"], headers["x_test"]
    if train_shape[1:] != test_shape[1:] or (train != test and {train.kind, test.kind} != {"f"}):
        raise DataInvalid(
            f"x_train and x_test of {file} differ: rows of shape {train_shape[1:]} {train} and "
            f"{test_shape[1:]} {test}. "
            f"Expected the same shape and type."
        )
    if train != np.uint8 and train.kind != "f":
        raise DataInvalid(
            f"x_train of {file} is {train}. Expected uint8 images, or float numbers that are taken "
            "as they are."
        )
    dimensions = (3, 4) if train == np.uint8 else (2, 3, 4)
    if len(train_shape) not in dimensions or 0 in train_shape[1:]:
        raise DataInvalid(
            f"x_train of {file} has shape {train_shape} ({train}). Expected images (N, H, W) or "
            "(N, H, W, C), or a float table "
            f"(N, features)."
        )
    return _first_channels(train_shape, file)


def _first_channels(shape: tuple[int, ...], file: Path | str) -> tuple[int, ...]:
    if len(shape) == 2:
        return shape[1:]
    if len(shape) == 3:
        return (1, *shape[1:])
    _, height, width, channels = shape
    if height in (1, 3) and channels > 4:
        raise DataInvalid(
            f"x_train of {file} has shape {shape}, which looks like (N, C, H, W). Expected (N, H, "
            "W, C): save "
            f"x.transpose(0, 2, 3, 1)."
        )
    return (channels, height, width)


def _check_lengths(headers: dict[str, Header], part: Part, file: Path | str) -> None:
    x, y = headers[f"x_{part}"].shape, headers[f"y_{part}"].shape
    if x[0] == 0:
        raise DataInvalid(f"x_{part} of {file} is empty. Expected at least one row.")
    if len(y) not in (1, 2) or y[0] != x[0] or 0 in y:
        raise DataInvalid(
            f"y_{part} of {file} has shape {y}. Expected ({x[0]},), one for each row of x_{part}."
        )


def _columns(headers: dict[str, Header], file: Path | str) -> int:
    """Targets of each row."""
    train, test = (headers[f"y_{part}"].shape[1:] or (1,) for part in _PARTS)
    if train != test:
        raise DataInvalid(
            f"y_train of {file} has {train[0]} targets for each row, y_test {test[0]}. Expected as "
            "many in both."
        )
    return train[0]


def _refuse_columns(headers: dict[str, Header], file: Path | str) -> None:
    for part in _PARTS:
        n, *columns = headers[f"y_{part}"].shape
        if columns not in ([], [1]):
            raise DataInvalid(
                f"y_{part} of {file} has shape {(n, *columns)}. Expected ({n},), one label for "
                "each row; several columns are "
                f"targets of a regression, saved as float."
            )


def _classes(npz: _Source, file: Path | str) -> int:
    if "classes" in npz.headers:
        shape = npz.headers["classes"].shape
        if len(shape) != 1 or shape[0] == 0:
            raise DataInvalid(
                f"classes of {file} has shape {shape}. Expected one name for each class."
            )
        return shape[0]
    labels = [npz.read(f"y_{part}") for part in _PARTS]
    lowest, highest = min(int(y.min()) for y in labels), max(int(y.max()) for y in labels)
    if lowest < 0:
        raise DataInvalid(f"The labels of {file} begin at {lowest}. Expected class numbers from 0.")
    if highest >= max(_PLAUSIBLE_CLASSES, sum(y.size for y in labels)):
        raise DataInvalid(
            f"The labels of {file} go up to {highest}, more classes than rows. For a regression "
            "save y as float; for a "
            f"classification add an array classes with the names."
        )
    return highest + 1


def _check_entry(info: DataInfo, known: DataInfo, file: Path | str) -> None:
    def facts(of: DataInfo) -> dict[str, Any]:
        return {"task": of.task, "input shape": of.input_shape, "outputs": of.outputs}

    wrong = {key: value for key, value in facts(info).items() if value != facts(known)[key]}
    if wrong:
        received = ", ".join(f"{key} {value}" for key, value in wrong.items())
        expected = ", ".join(f"{key} {facts(known)[key]}" for key in wrong)
        raise DataInvalid(
            f"{file} does not fit {known.name}: {received}; expected {expected}. Give it a name of "
            "its own."
        )


def _channels_first(x: np.ndarray) -> np.ndarray:
    if x.ndim == 2:
        return x
    return x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
