"""What one input of a user's own arrays is: an image, a row of a table, a sequence, or tokens.

Images and tables are told by dtype and shape. An array `vocabulary` (a number, or one name for each
token) says that inputs are tokens, and an array `kind` that holds the word "sequence" that they are
sequences of vectors: both look like something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from fanin.data.dataset import DataInfo
from fanin.data.formats.npz import Header
from fanin.errors import DataInvalid, quote

MARKS = ("classes", "kind", "vocabulary")
"""Arrays that describe the others."""

_KINDS = ("image", "table", "sequence", "tokens")


class ArrayReader(Protocol):
    """Arrays by name, in a file or in memory."""

    headers: dict[str, Header]

    def read(self, array: str) -> np.ndarray: ...


class InputForm(NamedTuple):
    """The shape of one input, and the number of different tokens; None if it is not of tokens."""

    shape: tuple[int, ...]
    vocabulary: int | None


def infer_input(reader: ArrayReader, file: Path | str) -> InputForm:
    """The form of the inputs x_train and x_test; raises `DataInvalid` if they have none."""
    headers = reader.headers
    (train_shape, train), (test_shape, test) = headers["x_train"], headers["x_test"]
    if train_shape[1:] != test_shape[1:] or (train != test and {train.kind, test.kind} != {"f"}):
        raise DataInvalid(
            f"x_train and x_test of {file} differ: rows of shape {train_shape[1:]} {train} and "
            f"{test_shape[1:]} {test}. Expected the same shape and type."
        )
    kind = _read_kind(reader, file)
    if "vocabulary" in headers:
        return InputForm(_check_tokens(headers, kind, file), _read_vocabulary(reader, file))
    if kind == "tokens":
        raise DataInvalid(
            f"{file} says that its inputs are tokens, and lacks an array vocabulary: the number of "
            "different tokens, or one name for each."
        )
    if kind == "sequence":
        return InputForm(_check_sequences(headers, file), None)
    shape = _infer_shape(headers, file)
    found = "table" if len(shape) == 1 else "image"
    if kind and kind != found:
        raise DataInvalid(
            f"{file} says that its inputs are of kind {kind}, but x_train has shape {train_shape} "
            f"({train}), as {'a table' if found == 'table' else 'images'}."
        )
    return InputForm(shape, None)


def arrange_samples(x: np.ndarray, info: DataInfo) -> np.ndarray:
    """Images with their channels first, as fanin holds them; anything else unchanged."""
    if info.kind != "image":
        return x
    return x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)


def _read_kind(reader: ArrayReader, file: Path | str) -> str:
    if "kind" not in reader.headers:
        return ""
    kind = reader.read("kind")
    if kind.size != 1 or str(kind.reshape(-1)[0]) not in _KINDS:
        raise DataInvalid(
            f"kind of {file} is {quote(kind.tolist())}. Expected one word: {', '.join(_KINDS)}."
        )
    return str(kind.reshape(-1)[0])


def _read_vocabulary(reader: ArrayReader, file: Path | str) -> int:
    """The number of tokens: the number itself, or that of the names."""
    shape, dtype = reader.headers["vocabulary"]
    number = shape[0] if len(shape) == 1 and shape != (1,) else None
    if number is None and dtype.kind in "iu" and shape in ((), (1,)):
        number = int(reader.read("vocabulary").reshape(-1)[0])
    if number is None or number < 2:
        raise DataInvalid(
            f"vocabulary of {file} has shape {shape} ({dtype}). Expected the number of different "
            "tokens, two or more, or one name for each."
        )
    return number


def _check_tokens(headers: Mapping[str, Header], kind: str, file: Path | str) -> tuple[int, ...]:
    shape, dtype = headers["x_train"]
    if kind not in ("", "tokens") or dtype.kind not in "iu" or len(shape) != 2 or 0 in shape[1:]:
        raise DataInvalid(
            f"{file} has a vocabulary, so its inputs are tokens, but x_train has shape {shape} "
            f"({dtype}){f' and kind {kind}' if kind else ''}. Expected integers of shape (N, "
            "steps), from 0."
        )
    return shape[1:]


def _check_sequences(headers: Mapping[str, Header], file: Path | str) -> tuple[int, ...]:
    shape, dtype = headers["x_train"]
    if dtype.kind != "f" or len(shape) != 3 or 0 in shape[1:]:
        raise DataInvalid(
            f"x_train of {file} has shape {shape} ({dtype}). Expected sequences of float numbers, "
            "(N, steps, features); tokens are integers, with an array vocabulary."
        )
    return shape[1:]


def _infer_shape(headers: Mapping[str, Header], file: Path | str) -> tuple[int, ...]:
    """The shape of an image or of a row of a table."""
    shape, dtype = headers["x_train"]
    if dtype != np.uint8 and dtype.kind != "f":
        tokens = (
            " If they are tokens, add an array vocabulary with their number."
            if dtype.kind in "iu" and len(shape) == 2
            else ""
        )
        raise DataInvalid(
            f"x_train of {file} is {dtype}. Expected uint8 images, or float numbers that are taken "
            f"as they are.{tokens}"
        )
    dimensions = (3, 4) if dtype == np.uint8 else (2, 3, 4)
    if len(shape) not in dimensions or 0 in shape[1:]:
        raise DataInvalid(
            f"x_train of {file} has shape {shape} ({dtype}). Expected images (N, H, W) or "
            "(N, H, W, C), or a float table (N, features)."
        )
    return _put_channels_first(shape, file)


def _put_channels_first(shape: tuple[int, ...], file: Path | str) -> tuple[int, ...]:
    if len(shape) == 2:
        return shape[1:]
    if len(shape) == 3:
        return (1, *shape[1:])
    _, height, width, channels = shape
    if height in (1, 3) and channels > 4:
        raise DataInvalid(
            f"x_train of {file} has shape {shape}, which looks like (N, C, H, W). Expected (N, H, "
            "W, C): save x.transpose(0, 2, 3, 1)."
        )
    return (channels, height, width)
