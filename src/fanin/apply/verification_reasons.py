"""Why a parameter may not hold what was recorded: what its numbers themselves show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fanin.apply.previous_values import ABSURD
from fanin.apply.redraw import flatten

_SHARDS = (2, 4, 8, 16)
_SURE = 6.0
"""A correlation of so many standard errors is no accident: one in 500 million."""
_ENOUGH = 16
"""From fewer numbers nothing is concluded."""
_SAME = 1e-5
_SEEDS = 100
_SEARCHED = 200_000
"""The most numbers of a parameter that other seeds are tried on."""


def explain_difference(values: Tensor, recorded: Tensor | None, alike: bool | None) -> str:
    """One sentence on what the numbers are instead.

    Args:
        values: what is there.
        recorded: the recorded draw; None if it cannot be drawn again.
        alike: whether mean, variance and distribution are as recorded; None if not tested.
    """
    own = flatten(values)
    return (
        _describe_broken(own)
        or _describe_repetition(values)
        or (_describe_change(own, flatten(recorded)) if recorded is not None else "")
        or _describe_other(own, alike)
    )


def explain_constant(values: Tensor, expected: float) -> str:
    """Why what should be constant may not be."""
    own = flatten(values)
    broken = _describe_broken(own, constant=False)
    if broken:
        return broken
    low, high = (float(one) for one in torch.aminmax(own))
    held = f"all {low:.4g}" if low == high else f"from {low:.4g} to {high:.4g}"
    return f"{held} instead of {expected:.4g}: trained, loaded over, or filled by something else"


def _describe_broken(own: Tensor, *, constant: bool = True) -> str:
    if not bool(own.isfinite().all()):
        return "numbers that are not finite: memory that nobody filled, or a training that diverged"
    if float(own.abs().max()) >= ABSURD:
        return "absurd numbers: memory that nobody filled"
    if constant and len(own) > 1 and float(own.min()) == float(own.max()):
        return f"all {float(own[0]):.4g}: never filled since it got memory, or loaded over"
    return ""


def _describe_repetition(values: Tensor) -> str:
    """Whether shards are equal, as if each process had drawn its own with the same generator."""
    for axis, size in enumerate(values.shape):
        for count in _SHARDS:
            if size % count or values.numel() // count < _ENOUGH:
                continue
            first, *others = values.chunk(count, axis)
            if all(torch.equal(first, one) for one in others):
                return (
                    f"the same numbers {count} times along axis {axis}: each process drew its own "
                    "shard, from the same seed"
                )
    return ""


def _describe_change(own: Tensor, recorded: Tensor) -> str:
    """Whether the numbers still show the recorded draw: scaled, or moved since."""
    norms = float(own.norm()), float(recorded.norm())
    if len(own) < _ENOUGH or min(norms) == 0:
        return ""
    similarity = float(own @ recorded) / (norms[0] * norms[1])
    if abs(similarity) * math.sqrt(len(own)) < _SURE:
        return ""
    scale = float(own @ recorded) / norms[1] ** 2
    if float((own - scale * recorded).norm()) <= _SAME * norms[0]:
        return f"the recorded draw times {scale:.4g}: rescaled"
    moved = float((own - recorded).norm()) / norms[1]
    if similarity > 0.5 or moved < 1:
        return (
            f"the recorded draw, moved by {100 * moved:.3g} % of its norm (cosine "
            f"{similarity:.3g}): trained"
        )
    return f"related to the recorded draw (cosine {similarity:.3g}): trained long, or mixed with it"


def _describe_other(own: Tensor, alike: bool | None) -> str:
    if alike:
        return (
            "another draw of the same distribution: another seed, another name, or another program"
        )
    spread = f"mean {float(own.mean()):.4g}, std {float(own.std(correction=0)):.4g}"
    return f"other numbers ({spread}): loaded over, or filled by something else"


def list_seeds(recorded: int) -> Sequence[int]:
    """The seeds that are tried when numbers are of another draw."""
    return [seed for seed in range(_SEEDS) if seed != recorded]


def can_be_searched(n: int) -> bool:
    """Whether other seeds are tried on a parameter of n numbers."""
    return _ENOUGH <= n <= _SEARCHED
