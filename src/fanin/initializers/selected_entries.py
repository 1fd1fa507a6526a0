"""Which entries of a larger model's weights a smaller model takes: names first, then indices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from fanin.errors import FitError

LayerChoice = Literal["first", "uniform"]


def match_names(
    own: Iterable[str], source: Iterable[str], layers: LayerChoice
) -> dict[str, str | None]:
    """The name in the source for each name of the smaller model; None if it has none.

    Names are alike but for the numbers of repeated layers, ``blocks.3.mlp``. Where the source has
    more layers of a kind, the first ones are taken, or every N/n-th.

    >>> match_names(["b.0.w", "b.1.w"], [f"b.{n}.w" for n in range(6)], "uniform")
    {'b.0.w': 'b.0.w', 'b.1.w': 'b.3.w'}
    """
    own, known = tuple(own), frozenset(source)
    own_numbers, numbers = _list_numbers(own), _list_numbers(known)
    return {name: _match(name, own_numbers, numbers, known, layers) for name in own}


def _list_numbers(names: Iterable[str]) -> Mapping[str, list[int]]:
    """The numbers that follow each prefix, in order."""
    found: dict[str, set[int]] = defaultdict(set)
    for name in names:
        prefix = ""
        for word in name.split("."):
            if word.isdecimal():
                found[prefix].add(int(word))
            prefix += f"{word}."
    return {prefix: sorted(numbers) for prefix, numbers in found.items()}


def _match(
    name: str,
    own: Mapping[str, list[int]],
    source: Mapping[str, list[int]],
    known: frozenset[str],
    layers: LayerChoice,
) -> str | None:
    prefix = target = ""
    for word in name.split("."):
        chosen = word
        if word.isdecimal():
            mine, theirs = own[prefix], source.get(target, [])
            if len(theirs) < len(mine):
                return None
            rank = mine.index(int(word))
            chosen = str(theirs[rank * len(theirs) // len(mine) if layers == "uniform" else rank])
        prefix, target = f"{prefix}{word}.", f"{target}{chosen}."
    found = target.removesuffix(".")
    return found if found in known else None


def check_sizes(name: str, shape: Sequence[int], source: str, larger: Sequence[int]) -> None:
    """Raise `FitError` if entries of that shape cannot be selected from the source's."""
    if len(shape) != len(larger) or any(
        size > given for size, given in zip(shape, larger, strict=True)
    ):
        raise FitError(
            f"{name} has shape {tuple(shape)}, and {source} of the source {tuple(larger)}: the "
            "source must be as large in every dimension."
        )


def select_entries(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Of T entries along an axis s evenly placed ones: those at ⌊i·T/s⌋.

    Axes of the same two sizes get the same entries, whichever weight they belong to. So all layers
    that read from and write to a residual stream keep the same ones of it, and of a packed weight
    each part keeps the same ones.
    """
    for axis, (size, given) in enumerate(zip(shape, tensor.shape, strict=True)):
        if size != given:
            kept = torch.arange(size, device=tensor.device).mul_(given)
            kept = kept.div_(size, rounding_mode="floor")
            tensor = tensor.index_select(axis, kept)
    return tensor
