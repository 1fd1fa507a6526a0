"""The data set in a user's own arrays x_train, y_train, x_test and y_test.

uint8 images (N, H, W) or (N, H, W, C) are divided by 255 on their way into the model; float arrays
are taken as they are. Integer arrays with a `vocabulary` are tokens, and float arrays of the kind
"sequence" sequences (`fanin.data.formats.input_kinds`). Integer labels make a classification, one
for each step (N, steps) that of the steps; float targets (N,) or (N, k) make a regression of one
number or of k. An optional array `classes` sets the number of classes; without it that is the
largest label plus one, and each class must have a sample.

A large file is not read whole: inputs that were saved uncompressed as uint8 or float32 are mapped,
and read batch by batch during training. ``FANIN_MAP_FROM`` is the size of a large file in megabytes
(default 1000).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fanin.data.dataset import SUBSETS, Arrays, DataInfo, Dataset, SubsetName, Task
from fanin.data.formats import mapped_samples
from fanin.data.formats.input_kinds import ArrayReader, InputForm, arrange_samples, infer_input
from fanin.data.formats.input_parts import PackedReader, has_parts
from fanin.data.formats.npz import Header, NpzFile, open_npz
from fanin.data.formats.plausibility import LabelCounts
from fanin.data.formats.tensors import (
    Tensors,
    compute_fingerprint,
    require_finite,
    to_targets,
    to_tensors,
)
from fanin.errors import DataInvalid

# With more classes than rows and than this, the labels are probably targets of a regression that
# were saved as integers.
_PLAUSIBLE_CLASSES = 1000


def read_file(
    file: Path,
    name: str,
    expected: DataInfo | None = None,
    *,
    standardise: bool = False,
    units: str = "",
) -> Dataset:
    """The data set in an NPZ file; nothing in it is ever unpickled.

    Args:
        file: the file.
        name: the name of the data set.
        expected: the description that shape and outputs must match, if `name` is registered.
        standardise: whether inputs are standardised; such a file is not mapped.
        units: units of a regression target.

    Raises `DataInvalid` if the file does not hold a data set.
    """
    with open_npz(file, str(file)) as npz:
        reader = _pack(npz, file)
        info = _read_info(reader, name, file, expected)
        is_plain = not standardise and info.vocabulary is None and not info.parts
        mapped = is_plain and npz.is_mappable("x_train") and npz.is_mappable("x_test")
        tensors = (
            _map_tensors(npz, info, file)
            if mapped
            else _read_tensors(reader, info, file, standardise=standardise)
        )
        divisor = _choose_divisor(reader)
    return Dataset(
        info,
        *tensors,
        divisor=divisor,
        standardise=standardise,
        fingerprint=compute_fingerprint(tensors),
        published=False,
        source=f"user's copy {file.name}",
        units=units,
        mapped=mapped,
    )


def read_arrays(arrays: Mapping[str, np.ndarray], name: str, source: str) -> Dataset:
    """The data set in arrays in memory, under the rules of a file; `name` is used in errors."""
    memory = _pack(_MemoryArrays(arrays), name)
    info = _read_info(memory, name, name, None)
    tensors = _read_tensors(memory, info, name)
    return Dataset(
        info,
        *tensors,
        divisor=_choose_divisor(memory),
        standardise=False,
        fingerprint=compute_fingerprint(tensors),
        published=False,
        source=source,
        units="",
    )


def describe_file(file: Path, name: str, expected: DataInfo | None = None) -> DataInfo:
    """The description of the data set in an NPZ file, from its headers.

    Labels are read only if nothing else tells the number of classes. Arguments and errors as for
    `read_file`.
    """
    with open_npz(file, str(file)) as npz:
        return _read_info(_pack(npz, file), name, file, expected)


def count_labels_of_file(
    file: Path, name: str, expected: DataInfo | None = None
) -> LabelCounts | None:
    """The samples of each class in an NPZ file, of which labels alone are read; None without
    classes. Arguments and errors as for `read_file`.
    """
    with open_npz(file, str(file)) as npz:
        info = _read_info(_pack(npz, file), name, file, expected)
        if info.task != "classification":
            return None
        y_train, y_test = to_targets(
            _read_targets(npz, "train"), _read_targets(npz, "test"), info, str(file)
        )
    return LabelCounts.from_labels(y_train, y_test, info.outputs)


class _MemoryArrays:
    """Arrays in memory, read like those of a file."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self.headers = {name: Header(array.shape, array.dtype) for name, array in arrays.items()}

    def read(self, array: str) -> np.ndarray:
        """The array as it is."""
        return self._arrays[array]


def _pack(reader: ArrayReader, file: Path | str) -> ArrayReader:
    """The arrays, several inputs as one."""
    return PackedReader(reader, file) if has_parts(reader) else reader


def _choose_divisor(reader: ArrayReader) -> float:
    return 255.0 if reader.headers["x_train"].dtype == np.uint8 else 1.0


def _read_tensors(
    reader: ArrayReader, info: DataInfo, file: Path | str, *, standardise: bool = False
) -> Tensors:
    x_train, x_test = (arrange_samples(reader.read(f"x_{subset}"), info) for subset in SUBSETS)
    arrays = Arrays(
        np.ascontiguousarray(x_train),
        _read_targets(reader, "train"),
        np.ascontiguousarray(x_test),
        _read_targets(reader, "test"),
    )
    return to_tensors(info, arrays, str(file), standardise=standardise)


def _map_tensors(npz: NpzFile, info: DataInfo, file: Path) -> Tensors:
    inputs = []
    for subset in SUBSETS:
        x = npz.map(f"x_{subset}")
        if x.dtype != np.uint8:
            require_finite(x, f"x_{subset} of {file}")
        inputs.append(mapped_samples.as_tensor(arrange_samples(x, info)))
    y_train, y_test = to_targets(
        _read_targets(npz, "train"), _read_targets(npz, "test"), info, str(file)
    )
    return inputs[0], y_train, inputs[1], y_test


def _read_targets(reader: ArrayReader, subset: SubsetName) -> np.ndarray:
    """(N,), or (N, k) for several targets."""
    y = reader.read(f"y_{subset}")
    return y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y


def _read_info(
    reader: ArrayReader, name: str, file: Path | str, expected: DataInfo | None
) -> DataInfo:
    headers = reader.headers
    missing = [array for array in Arrays._fields if array not in headers]
    if missing:
        present = ", ".join(headers) or "no arrays"
        raise DataInvalid(
            f"{file} lacks {', '.join(missing)}: it holds {present}. Expected "
            f"{', '.join(Arrays._fields)}."
        )
    form = infer_input(reader, file)
    task = _infer_task(headers, form, file)
    for subset in SUBSETS:
        _check_lengths(headers, subset, file)
    if task == "regression":
        outputs = _count_targets(headers, file)
    else:
        if task == "classification":
            _require_one_label(headers, form, file)
        outputs = expected.outputs if expected else _count_classes(reader, file)
    info = DataInfo(
        name=name,
        task=task,
        input_shape=form.shape,
        outputs=outputs,
        n_train=headers["x_train"].shape[0],
        n_test=headers["x_test"].shape[0],
        vocabulary=form.vocabulary,
        parts=reader.parts if isinstance(reader, PackedReader) else (),
    )
    if expected:
        _require_match(info, expected, file)
    return info


def _infer_task(headers: dict[str, Header], form: InputForm, file: Path | str) -> Task:
    kinds = {headers[f"y_{subset}"].dtype.kind for subset in SUBSETS}
    if kinds <= {"i", "u"}:
        steps = form.shape[0]
        is_sequence = form.vocabulary is not None or len(form.shape) == 2
        rows = [headers[f"y_{subset}"].shape[1:] for subset in SUBSETS]
        per_step = is_sequence and steps > 1 and all(row == (steps,) for row in rows)
        return "token_classification" if per_step else "classification"
    if kinds == {"f"}:
        return "regression"
    received = " and ".join(str(headers[f"y_{subset}"].dtype) for subset in SUBSETS)
    raise DataInvalid(
        f"y_train and y_test of {file} are {received}. Expected integer labels or float targets in "
        "both."
    )


def _check_lengths(headers: dict[str, Header], subset: SubsetName, file: Path | str) -> None:
    x, y = headers[f"x_{subset}"].shape, headers[f"y_{subset}"].shape
    if x[0] == 0:
        raise DataInvalid(f"x_{subset} of {file} is empty. Expected at least one row.")
    if len(y) not in (1, 2) or y[0] != x[0] or 0 in y:
        raise DataInvalid(
            f"y_{subset} of {file} has shape {y}. Expected ({x[0]},), one for each row of "
            f"x_{subset}."
        )


def _count_targets(headers: dict[str, Header], file: Path | str) -> int:
    """Targets of each row."""
    train, test = (headers[f"y_{subset}"].shape[1:] or (1,) for subset in SUBSETS)
    if train != test:
        raise DataInvalid(
            f"y_train of {file} has {train[0]} targets for each row, y_test {test[0]}. Expected as "
            "many in both."
        )
    return train[0]


def _require_one_label(headers: dict[str, Header], form: InputForm, file: Path | str) -> None:
    is_sequence = form.vocabulary is not None or len(form.shape) == 2
    each_step = f", or (N, {form.shape[0]}), one for each step" if is_sequence else ""
    for subset in SUBSETS:
        n, *columns = headers[f"y_{subset}"].shape
        if columns not in ([], [1]):
            raise DataInvalid(
                f"y_{subset} of {file} has shape {(n, *columns)}. Expected ({n},), one label for "
                f"each row{each_step}; several columns are targets of a regression, saved as float."
            )


def _count_classes(reader: ArrayReader, file: Path | str) -> int:
    if "classes" in reader.headers:
        shape = reader.headers["classes"].shape
        if len(shape) != 1 or shape[0] < 2:
            raise DataInvalid(
                f"classes of {file} has shape {shape}. Expected one name for each of two or more "
                "classes."
            )
        return shape[0]
    labels = [reader.read(f"y_{subset}") for subset in SUBSETS]
    lowest, highest = min(int(y.min()) for y in labels), max(int(y.max()) for y in labels)
    if lowest < 0:
        raise DataInvalid(f"The labels of {file} begin at {lowest}. Expected class numbers from 0.")
    if highest >= max(_PLAUSIBLE_CLASSES, sum(y.size for y in labels)):
        raise DataInvalid(
            f"The labels of {file} go up to {highest}, more classes than rows. For a regression "
            "save y as float; for a classification add an array classes with the names."
        )
    if highest == 0:
        raise DataInvalid(
            f"All labels of {file} are 0: one class leaves nothing to learn. Expected two or more; "
            "if there are others, add an array classes with all names."
        )
    present = np.unique(np.concatenate([np.unique(y) for y in labels]))
    if len(present) <= highest:
        first = int((present != np.arange(len(present))).argmax())
        raise DataInvalid(
            f"The labels of {file} go from {lowest} to {highest}, and {highest + 1 - len(present)} "
            f"of the class numbers 0 to {highest} have no sample, first {first}. Expected classes "
            "numbered from 0 without a gap: renumber them (numpy.unique(y, return_inverse=True)), "
            f"or add an array classes with the names of all {highest + 1}. If the labels are "
            "quantities, save them as float."
        )
    return highest + 1


def _require_match(info: DataInfo, expected: DataInfo, file: Path | str) -> None:
    def list_facts(of: DataInfo) -> dict[str, Any]:
        return {"task": of.task, "input shape": of.input_shape, "outputs": of.outputs}

    actual, wanted = list_facts(info), list_facts(expected)
    wrong = [fact for fact in actual if actual[fact] != wanted[fact]]
    if wrong:
        raise DataInvalid(
            f"{file} does not fit {expected.name}: "
            f"{', '.join(f'{fact} {actual[fact]}' for fact in wrong)}; expected "
            f"{', '.join(f'{fact} {wanted[fact]}' for fact in wrong)}. Give it a name of its own."
        )
