"""The values of ``--input`` and ``--target``: shapes to draw numbers for, or files of arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import FaninError, MissingExtra, UsageError, join_names, quote

if TYPE_CHECKING:
    from torch import Tensor

_SHAPE = re.compile(r"\d+(x\d+)*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_SUFFIXES = (".npz", ".safetensors")
TARGETS = ("y", "target", "labels")
"""What the target is called in a file."""

_MOST_NUMBERS = 2**31
_FORMS = """8x3x32x32 (standard normal numbers), 8x128:int:50257 (whole numbers below 50257), \
name=8x128:int:50257 (a keyword of forward), or a file .npz or .safetensors"""


@dataclass(frozen=True)
class DrawnShape:
    """What to draw: a shape, and for whole numbers how many there are."""

    shape: tuple[int, ...]
    values: int | None = None
    """Whole numbers from 0 below it; None: standard normal numbers."""

    def draw(self, seed: int, name: str) -> Tensor:
        """The numbers; of another name they are others."""
        import torch

        from fanin import seeds

        generator = seeds.make_generator(seed, "audit input", name)
        if self.values is None:
            return seeds.standard_normal(self.shape, generator).clone()
        return torch.randint(self.values, self.shape, generator=generator)


@dataclass(frozen=True)
class AuditInput:
    """What the model is given, and what its output is compared with."""

    batch: Any
    """One tensor, a tuple of arguments, or a dict of keywords."""
    target: Tensor | None = None


def read_input(
    texts: Iterable[str], target: str | None, *, seed: int, keywords: Iterable[str] = ()
) -> AuditInput:
    """The batch and the target that the command line describes.

    Args:
        texts: the values of ``--input``.
        target: the value of ``--target``.
        seed: of the numbers that are drawn.
        keywords: the arguments of the model's forward. A file's array ``labels`` is one of them if
            forward takes it; else it is the target.

    Raises `UsageError`.
    """
    listed = list(texts)
    if not listed:
        raise UsageError(f"What is the model given? Add --input with {_FORMS}.")
    drawn = None if target is None else parse_shape(target, "--target").draw(seed, "target")
    if any(text.endswith(_SUFFIXES) for text in listed):
        return _read_from_file(listed, drawn, set(keywords))
    named = [_split_name(text) for text in listed]
    tensors = [
        parse_shape(text, "--input").draw(seed, name or f"input {index}")
        for index, (name, text) in enumerate(named)
    ]
    names = [name for name, _ in named]
    if not any(names):
        return AuditInput(tensors[0] if len(tensors) == 1 else tuple(tensors), drawn)
    if not all(names):
        raise UsageError(
            "Give all inputs a name, or none: a model is called with arguments or with keywords, "
            f"not with both. Received: {join_names(listed)}."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--input gives {', '.join(twice)} more than once. Give each name once.")
    return AuditInput(dict(zip(names, tensors, strict=True)), drawn)


def parse_shape(text: str, option: str) -> DrawnShape:
    """``8x128:int:50257`` → what to draw. Raises `UsageError`."""
    shape, *kind = text.strip().split(":")
    if not _SHAPE.fullmatch(shape):
        raise UsageError(f"{option} takes {_FORMS}. Received {quote(text)}.")
    sizes = tuple(map(int, shape.split("x")))
    total = 1
    for size in sizes:
        total *= size
    if not 0 < total <= _MOST_NUMBERS:
        raise UsageError(
            f"{option} {quote(text)} has {total:,} numbers. Expected between 1 and "
            f"{_MOST_NUMBERS:,}."
        )
    if not kind or kind == ["float"]:
        return DrawnShape(sizes)
    if len(kind) == 2 and kind[0] == "int" and kind[1].isdecimal() and int(kind[1]) > 0:
        return DrawnShape(sizes, int(kind[1]))
    raise UsageError(
        f"{option} {quote(text)}: after the shape, expected nothing for real numbers, or "
        f":int:COUNT for whole numbers from 0 to COUNT - 1, such as {shape}:int:50257."
    )


def _split_name(text: str) -> tuple[str, str]:
    """The name, empty if there is none, and the rest."""
    name, equals, rest = text.partition("=")
    if not equals:
        return "", text
    if not _NAME.fullmatch(name.strip()):
        raise UsageError(f"--input takes {_FORMS}. {quote(name)} cannot name an argument.")
    return name.strip(), rest


def _read_from_file(texts: list[str], drawn: Tensor | None, keywords: set[str]) -> AuditInput:
    if len(texts) > 1:
        raise UsageError(
            f"A file holds all inputs, so --input can be given only once. Received: "
            f"{join_names(texts)}."
        )
    path = Path(texts[0])
    arrays = read_arrays(path)
    named = [name for name in TARGETS if name in arrays and name not in keywords]
    if len(named) > 1:
        raise UsageError(f"{path} has {' and '.join(named)}: the target has one of these names.")
    target = arrays.pop(named[0]) if named else None
    if not arrays:
        raise UsageError(
            f"{path} has a target only. Expected also x, or arrays named as the "
            "arguments of the model's forward."
        )
    batch = arrays["x"] if set(arrays) == {"x"} else dict(arrays)
    return AuditInput(batch, drawn if drawn is not None else target)


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a ``.npz`` or ``.safetensors`` file by name. Raises `UsageError`."""
    if not path.is_file():
        raise UsageError(f"There is no file {path}. Expected a file .npz or .safetensors.")
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
    except FaninError:
        raise
    except Exception as error:  # numpy, zipfile and safetensors raise many kinds
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path} cannot be read as {path.suffix}: {type(error).__name__}: {reason}."
        ) from None


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import torch

    with np.load(path, allow_pickle=False) as arrays:
        loaded: Mapping[str, Any] = {name: arrays[name] for name in arrays.files}
    if words := [name for name, array in loaded.items() if array.dtype.kind not in "fiubc"]:
        raise UsageError(f"{path}: {', '.join(words)} is no array of numbers.")
    return {name: torch.from_numpy(_to_known_dtype(array)) for name, array in loaded.items()}


def _to_known_dtype(array: Any) -> Any:
    """NumPy makes real numbers of 64 bits, and models have 32; unsigned numbers torch has one."""
    import numpy as np

    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    if array.dtype.kind in "i" and array.dtype.itemsize < 8:
        return array.astype(np.int64)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtra("safetensors", "study", f"To read {path}, fanin") from None
    return dict(load_file(path))
