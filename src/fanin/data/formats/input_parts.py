"""Several inputs for each sample: arrays x_train.NAME and x_test.NAME, packed into one table.

Every part is flattened and stored as float32 beside the others, so that a data set still has one
tensor of inputs; `fanin.models.several_inputs` takes it apart again. float32 holds whole numbers to
2²⁴ exactly, and a vocabulary is smaller. Parts keep the order of their axes; uint8 is divided by
255.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fanin.data.dataset import SUBSETS, InputPart
from fanin.data.formats.input_kinds import ArrayReader
from fanin.data.formats.npz import Header
from fanin.errors import DataInvalid, quote

MOST_TOKENS = 2**24


class PackedReader:
    """Arrays whose parts x_train.NAME and x_test.NAME appear as x_train and x_test."""

    def __init__(self, reader: ArrayReader, file: Path | str) -> None:
        self._reader = reader
        self.parts = _describe_parts(reader, file)
        """In the order of their packing."""
        total = sum(part.size for part in self.parts)
        lengths = {subset: self._count_samples(subset, file) for subset in SUBSETS}
        packed = {
            f"x_{subset}": Header((n, total), np.dtype(np.float32)) for subset, n in lengths.items()
        }
        self.headers = {**reader.headers, **packed}

    def read(self, array: str) -> np.ndarray:
        """An array; the parts of x_train or x_test, packed."""
        if array not in ("x_train", "x_test"):
            return self._reader.read(array)
        columns = [self._read_part(array, part) for part in self.parts]
        return np.concatenate(columns, axis=1)

    def _read_part(self, array: str, part: InputPart) -> np.ndarray:
        name = f"{array}.{part.name}"
        values = self._reader.read(name)
        if part.vocabulary is not None:
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= part.vocabulary:
                raise DataInvalid(
                    f"{name} holds the token {low if low < 0 else high}. Expected numbers 0 to "
                    f"{part.vocabulary - 1}."
                )
        flat: np.ndarray = values.reshape(len(values), -1).astype(np.float32)
        return flat / 255 if values.dtype == np.uint8 and part.vocabulary is None else flat

    def _count_samples(self, subset: str, file: Path | str) -> int:
        counts = {
            part.name: self._reader.headers[f"x_{subset}.{part.name}"].shape[0]
            for part in self.parts
        }
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise DataInvalid(
                f"The inputs x_{subset} of {file} have different numbers of rows: {listed}."
            )
        return next(iter(counts.values()))


def has_parts(reader: ArrayReader) -> bool:
    """Whether the inputs are several arrays."""
    return "x_train" not in reader.headers and any(
        name.startswith("x_train.") for name in reader.headers
    )


def _describe_parts(reader: ArrayReader, file: Path | str) -> tuple[InputPart, ...]:
    names = {
        subset: [
            name.partition(".")[2] for name in reader.headers if name.startswith(f"x_{subset}.")
        ]
        for subset in SUBSETS
    }
    if sorted(names["train"]) != sorted(names["test"]):
        raise DataInvalid(
            f"{file} trains on the inputs {', '.join(names['train'])} and tests on "
            f"{', '.join(names['test']) or 'none'}. Expected the same in both."
        )
    return tuple(_describe_part(reader, name, file) for name in names["train"])


def _describe_part(reader: ArrayReader, name: str, file: Path | str) -> InputPart:
    (train_shape, train), (test_shape, test) = (
        reader.headers[f"x_{subset}.{name}"] for subset in SUBSETS
    )
    if not name.isidentifier():
        raise DataInvalid(
            f"An input of {file} is called {quote(name)}. Expected a name that a parameter of your "
            "model's forward can have."
        )
    if not train_shape or train_shape[1:] != test_shape[1:] or train.kind != test.kind:
        raise DataInvalid(
            f"x_train.{name} of {file} has shape {train_shape} ({train}), and x_test.{name} "
            f"{test_shape} ({test}). Expected rows of the same shape and type."
        )
    mark = f"vocabulary.{name}"
    vocabulary = int(reader.read(mark).reshape(-1)[0]) if mark in reader.headers else None
    if vocabulary is not None and not 2 <= vocabulary <= MOST_TOKENS:
        raise DataInvalid(
            f"{mark} of {file} is {vocabulary}. Expected a number of tokens from 2 to "
            f"{MOST_TOKENS:,}."
        )
    fits = train.kind in "iu" if vocabulary is not None else train.kind == "f" or train == np.uint8
    if not fits:
        expected = f"integers, since {mark} is given" if vocabulary else "float or uint8 numbers"
        raise DataInvalid(
            f"x_train.{name} of {file} is {train}. Expected {expected}; tokens are integers with a "
            f"number {mark}."
        )
    return InputPart(name, train_shape[1:] or (1,), vocabulary)


def flatten_parts(arrays: dict[str, object]) -> dict[str, object]:
    """The arrays of a mapping in which x_train, x_test or vocabulary may be mappings by name."""
    flat: dict[str, object] = {}
    for name, value in arrays.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{part}": inner for part, inner in value.items()}
        else:
            flat[name] = value
    return flat
