"""F018: weights drawn in low precision, which have few distinct values.

Random numbers of eight bits have 256 values, and their tails are cut or rounded. A weight that was
drawn in float32 and rounded to bfloat16 is sound; one that was drawn in bfloat16, and computes in
float32, has lost its lower bits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from fanin import seeds
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.drawn_numbers import describe_draw, is_random
from fanin.diagnosis.held_parameters import HeldParameter
from fanin.diagnosis.patch import Patch
from fanin.structure.structure_text import count

CODE = "F018"

LEAST = 1024
"""Fewer numbers than that say little about how many values they were drawn from."""
FEW = 0.6
"""Of the number of distinct values that rounding a draw of float32 leaves. Draws of eight bits have
0.55 of it at 1,024 numbers and 0.17 at 16,384; a normal draw that is scaled in low precision, 0.9.
"""
LEAST_LEVELS = 33
"""Weights of fewer values are quantized, or signs, on purpose."""
_DRAWN_KURTOSIS = (0.0, -0.63, -1.2)
"""Of normal, truncated (at two standard deviations) and uniform draws."""
_NOISES = 6.0
"""Trained weights have heavier tails than any draw: their excess kurtosis is off by more than this,
in units of √(24/n)."""
_MOST = 0.5
_LOW = (torch.bfloat16, torch.float16)


def find_low_precision(examination: Examination) -> Iterator[Finding]:
    """One finding for weights of few values, and one for weights on a coarse grid."""
    weights = [
        one
        for one in examination.held
        if one.trainable
        and one.values.dim() >= 2
        and one.values.numel() >= LEAST
        and one.finite
        and one.constant is None
    ]
    grids = {one.name: _find_grid(one) for one in weights}
    coarse = [
        one for one in weights if _has_few_values(one, grids[one.name]) and is_random(one.values)
    ]
    if coarse:
        yield _report_few(coarse, grids)
    rounded = [
        one
        for one in weights
        if one not in coarse and grids[one.name] != one.values.dtype and is_random(one.values)
    ]
    if rounded:
        yield _report_rounded(rounded, grids[rounded[0].name], examination)


def _has_few_values(held: HeldParameter, grid: torch.dtype) -> bool:
    """Whether it has far fewer distinct values than a draw of float32, rounded to its grid."""
    own = held.sample[held.sample != 0]
    if len(own) < LEAST:
        return False
    values = len(own.unique())
    return LEAST_LEVELS <= values < FEW * _count_expected(held, len(own), grid)


def _count_expected(held: HeldParameter, numbers: int, grid: torch.dtype) -> float:
    """The number of distinct values of a sound draw of the same size and scale."""
    if grid not in _LOW:
        return float(numbers)
    z = seeds.standard_normal((numbers,), seeds.make_generator(0, "low precision"))
    if describe_draw(held.values).startswith("uniform"):
        z = torch.erf(z / math.sqrt(2)) * math.sqrt(3)
    return float(len((held.mean + held.std * z).to(grid).unique()))


def _find_grid(held: HeldParameter) -> torch.dtype:
    """The low precision that represents all numbers of a weight; its dtype if there is none."""
    if held.values.dtype in _LOW:
        return held.values.dtype
    start = held.values.reshape(-1)[:64]
    for dtype in _LOW:
        if _is_exact(start, dtype) and _is_exact(held.sample, dtype):
            return dtype
    return held.values.dtype


def _is_exact(numbers: Tensor, dtype: torch.dtype) -> bool:
    return bool((numbers.to(dtype).to(numbers.dtype) == numbers).all())


def _looks_drawn(held: HeldParameter) -> bool:
    """Whether its kurtosis is that of a fresh draw."""
    score = (held.sample.double() - held.mean) / held.std
    kurtosis = float(score.pow(4).mean()) - 3
    noise = math.sqrt(24 / len(score))
    return any(abs(kurtosis - one) < _NOISES * noise for one in _DRAWN_KURTOSIS)


def _report_few(weights: Sequence[HeldParameter], grids: Mapping[str, torch.dtype]) -> Finding:
    worst = min(weights, key=lambda one: len(one.sample.unique()) / len(one.sample))
    names = tuple(dict.fromkeys([worst.name, *(one.name for one in weights)]))
    values, size = len(worst.sample.unique()), len(worst.sample)
    grid = grids[worst.name]
    expected = round(_count_expected(worst, size, grid))
    return Finding(
        code=CODE,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"{worst.name} has {values:,} distinct values among {size:,} numbers; a draw of "
            f"float32 in {_name(grid)} has about {expected:,}."
        ),
        remedy="Draw in float32 and convert the result.",
        evidence={
            "distinct_values": values,
            "expected_distinct_values": expected,
            "numbers_looked_at": size,
            "dtype": _name(worst.values.dtype),
            "weights": len(names),
        },
        patches=_make_patches(weights),
    )


def _report_rounded(
    weights: Sequence[HeldParameter], dtype: torch.dtype, examination: Examination
) -> Finding:
    drawn = [one for one in weights if _looks_drawn(one)]
    fresh = len(drawn) > _MOST * len(weights) and examination.expected is None
    names = tuple(one.name for one in weights)
    first = weights[0]
    reason = (
        "They were drawn in low precision and converted."
        if fresh
        else "They come from a file in low precision, or were rounded on purpose."
    )
    return Finding(
        code=CODE,
        severity="warning" if fresh else "note",
        where=names[0],
        also=names[1:],
        summary=(
            f"All numbers of {count(len(names), 'weight')} in {_name(first.values.dtype)} are "
            f"exact in {_name(dtype)}. {reason}"
        ),
        remedy=(
            "Draw in float32: make the model in float32, initialize it, and convert it afterwards."
            if fresh
            else "Nothing, if these weights were loaded."
        ),
        evidence={
            "weights": len(names),
            "dtype": _name(first.values.dtype),
            "exact_in": _name(dtype),
            "look_drawn": len(drawn),
            "distinct_values": len(first.sample.unique()),
            "numbers_looked_at": len(first.sample),
        },
        patches=_make_patches(weights) if fresh else (),
    )


def _make_patches(weights: Sequence[HeldParameter]) -> tuple[Patch, ...]:
    specs: dict[str, list[str]] = {}
    for one in weights:
        specs.setdefault(describe_draw(one.values), []).append(one.name)
    return tuple(
        Patch(operation="initialize", parameters=tuple(names), initializer=spec)
        for spec, names in specs.items()
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
