"""A user's own copy of a data set: ``<name>/<name>.npz`` with the arrays x_train, y_train, x_test and y_test.

uint8 images (N, H, W) or (N, H, W, C) are divided by 255 on their way into the model, float arrays are taken as they are;
integer labels make a classification, float targets a regression. An array `classes`, where there is one, tells the number of
classes; otherwise it is the largest label plus one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from fanin.data.base import Arrays, DataInfo, Dataset, DatasetEntry, Task, fingerprint, tensors
from fanin.data.npz import Header, NpzFile, opened
from fanin.errors import DataInvalid

Part = Literal["train", "test"]

# Above this, more classes than rows mean that somebody saved the targets of a regression as integers.
_PLAUSIBLE_CLASSES = 1000


def read(file: Path, name: str, entry: DatasetEntry | None = None) -> Dataset:
    """The data set in `file`. With the registered `entry` of that name, shape and outputs must be the entry's.

    Raises `DataInvalid` for whatever the file should not hold; nothing in it is ever unpickled.
    """
    with opened(file, str(file)) as npz:
        info = _info(npz, name, file, entry)
        x_train, x_test = (_channels_first(npz.read(f"x_{part}")) for part in ("train", "test"))
        y_train, y_test = (npz.read(f"y_{part}").reshape(-1) for part in ("train", "test"))
    parts = tensors(info, Arrays(x_train, y_train, x_test, y_test), str(file))
    return Dataset(
        info,
        *parts,
        divisor=255.0 if x_train.dtype == np.uint8 else 1.0,
        standardise=entry.standardise if entry else False,
        fingerprint=fingerprint(parts),
        canonical=False,
        source=f"user's copy {file.name}",
        units=entry.units if entry else "",
    )


def describe(file: Path, name: str, entry: DatasetEntry | None = None) -> DataInfo:
    """What `file` holds, from its headers; labels are read too where nothing else tells the number of classes."""
    with opened(file, str(file)) as npz:
        return _info(npz, name, file, entry)


def _info(npz: NpzFile, name: str, file: Path, entry: DatasetEntry | None) -> DataInfo:
    headers = npz.headers
    missing = [array for array in Arrays._fields if array not in headers]
    if missing:
        present = ", ".join(headers) or "no arrays"
        raise DataInvalid(f"{file} lacks {', '.join(missing)}: it holds {present}. Expected {', '.join(Arrays._fields)}.")
    task = _task(headers, file)
    shape = _input_shape(headers, file)
    for part in ("train", "test"):
        _check_lengths(headers, part, file)
    outputs = 1 if task == "regression" else (entry.info.outputs if entry else _classes(npz, file))
    rows = {f"n_{part}": headers[f"x_{part}"].shape[0] for part in ("train", "test")}
    info = DataInfo(name=name, task=task, input_shape=shape, outputs=outputs, **rows)
    if entry:
        _check_entry(info, entry.info, file)
    return info


def _task(headers: dict[str, Header], file: Path) -> Task:
    kinds = {headers[f"y_{part}"].dtype.kind for part in ("train", "test")}
    if kinds <= {"i", "u"}:
        return "classification"
    if kinds == {"f"}:
        return "regression"
    received = " and ".join(str(headers[f"y_{part}"].dtype) for part in ("train", "test"))
    raise DataInvalid(f"y_train and y_test of {file} are {received}. Expected integer labels or float targets in both.")


def _input_shape(headers: dict[str, Header], file: Path) -> tuple[int, ...]:
    (train_shape, train), (test_shape, test) = headers["x_train"], headers["x_test"]
    if train_shape[1:] != test_shape[1:] or (train != test and {train.kind, test.kind} != {"f"}):
        raise DataInvalid(
            f"x_train and x_test of {file} differ: rows of shape {train_shape[1:]} {train} and {test_shape[1:]} {test}. "
            f"Expected the same shape and type."
        )
    if train != np.uint8 and train.kind != "f":
        raise DataInvalid(f"x_train of {file} is {train}. Expected uint8 images, or float numbers that are taken as they are.")
    dimensions = (3, 4) if train == np.uint8 else (2, 3, 4)
    if len(train_shape) not in dimensions or 0 in train_shape[1:]:
        raise DataInvalid(
            f"x_train of {file} has shape {train_shape} ({train}). Expected images (N, H, W) or (N, H, W, C), or a float table "
            f"(N, features)."
        )
    return _first_channels(train_shape, file)


def _first_channels(shape: tuple[int, ...], file: Path) -> tuple[int, ...]:
    if len(shape) == 2:
        return shape[1:]
    if len(shape) == 3:
        return (1, *shape[1:])
    _, height, width, channels = shape
    if height in (1, 3) and channels > 4:
        raise DataInvalid(
            f"x_train of {file} has shape {shape}, which looks like (N, C, H, W). Expected (N, H, W, C): save "
            f"x.transpose(0, 2, 3, 1)."
        )
    return (channels, height, width)


def _check_lengths(headers: dict[str, Header], part: Part, file: Path) -> None:
    x, y = headers[f"x_{part}"].shape, headers[f"y_{part}"].shape
    if x[0] == 0:
        raise DataInvalid(f"x_{part} of {file} is empty. Expected at least one row.")
    if y not in ((x[0],), (x[0], 1)):
        raise DataInvalid(f"y_{part} of {file} has shape {y}. Expected ({x[0]},), one for each row of x_{part}.")


def _classes(npz: NpzFile, file: Path) -> int:
    if "classes" in npz.headers:
        shape = npz.headers["classes"].shape
        if len(shape) != 1 or shape[0] == 0:
            raise DataInvalid(f"classes of {file} has shape {shape}. Expected one name for each class.")
        return shape[0]
    labels = [npz.read(f"y_{part}") for part in ("train", "test")]
    lowest, highest = min(int(y.min()) for y in labels), max(int(y.max()) for y in labels)
    if lowest < 0:
        raise DataInvalid(f"The labels of {file} begin at {lowest}. Expected class numbers from 0.")
    if highest >= max(_PLAUSIBLE_CLASSES, sum(y.size for y in labels)):
        raise DataInvalid(
            f"The labels of {file} go up to {highest}, more classes than rows. For a regression save y as float; for a "
            f"classification add an array classes with the names."
        )
    return highest + 1


def _check_entry(info: DataInfo, known: DataInfo, file: Path) -> None:
    def facts(of: DataInfo) -> dict[str, Any]:
        return {"task": of.task, "input shape": of.input_shape, "outputs": of.outputs}

    wrong = {key: value for key, value in facts(info).items() if value != facts(known)[key]}
    if wrong:
        received = ", ".join(f"{key} {value}" for key, value in wrong.items())
        expected = ", ".join(f"{key} {facts(known)[key]}" for key in wrong)
        raise DataInvalid(f"{file} does not fit {known.name}: {received}; expected {expected}. Give it a name of its own.")


def _channels_first(x: np.ndarray) -> np.ndarray:
    if x.ndim == 2:
        return x
    return x[:, None] if x.ndim == 3 else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
