"""The only pickles that fanin reads: batches of CIFAR's Python archives.

Most mirrors of CIFAR that are fast and alive have only the Python archive, a tar of pickles. They
are read after the archive's SHA-256 has matched. A pickle may name three things, and each is
replaced by an object that only records its arguments: no function is ever called because a pickle
names it. The bytes of an array are then read as uint8, and the result is accepted only if it has
the published checksums of the binary version.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from fanin.errors import DataInvalid, quote

_UINT8 = (b"u1", "u1", b"|u1", "|u1")


class PickledObject:
    """An object as a pickle describes it: the arguments of its constructor, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def load(content: bytes, name: str) -> object:
    """The content of a pickle: dicts, lists, numbers, bytes, and a `PickledObject` for each array.

    Strings of Python 2 become bytes. Raises `DataInvalid` if the pickle is damaged or names
    anything but a NumPy array; `name` is the pickle's name in messages.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except DataInvalid:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise DataInvalid(
            f"{name} is not a complete pickle of plain arrays ({quote(str(error))})."
        ) from None


def to_uint8_array(stored: object, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The uint8 array of `shape` that a pickle describes.

    Raises `DataInvalid` if it describes anything else.
    """
    match stored:
        case PickledObject(
            state=(
                int(),
                tuple(received),
                PickledObject(arguments=(kind, *_)),
                fortran,
                bytes(content),
            )
        ) if kind in _UINT8:
            if received == shape and len(content) == math.prod(shape):
                return np.frombuffer(content, np.uint8).reshape(
                    shape, order="F" if fortran else "C"
                )
            raise DataInvalid(
                f"{name} has shape {quote(received)} in {len(content):,} bytes; expected {shape} "
                "of uint8."
            )
    raise DataInvalid(f"{name} is not a uint8 array.")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") | (
                "numpy",
                "dtype",
            ):
                # A new function each time: a pickle could set attributes on it.
                return lambda *arguments: PickledObject(*arguments)
            case ("numpy", "ndarray"):
                return object
        raise DataInvalid(
            f"The pickle names {quote(f'{module}.{name}')}, which is not allowed. Expected NumPy "
            "arrays only."
        )
