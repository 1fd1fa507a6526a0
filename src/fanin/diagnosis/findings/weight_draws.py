"""How the numbers of a weight were drawn: their size, and the distribution that they look like.

The standard deviation of n independent numbers is known up to the relative error √((κ − 1)/4n),
where κ is their kurtosis: 1/√(2n) for a normal, 0.45/√n for a uniform distribution. Everything that
is compared with a formula is compared up to three such errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

DrawKind = Literal["constant", "orthogonal", "uniform", "normal", "truncated", "sparse", "other"]

MOST_NUMBERS = 1 << 17
"""So many numbers tell the standard deviation to 0.2 %; more would only cost time."""
ERRORS = 3.0
"""Sampling errors up to which a measured standard deviation equals a formula: 0.3 % of draws lie
further off by chance.
"""
ROUNDING = 1e-3
"""Relative. Numbers of 16 bits, and truncations at two decimals, are not exact."""
FEWEST_NUMBERS = 32
"""Of fewer numbers no distribution can be told."""
MOSTLY_ZERO = 0.5
"""From this share of zeros on, a weight is sparse, an identity or a mask."""
NORM_TOLERANCE = 1e-3
"""Rows of an orthogonal matrix have equal norms up to rounding; those of a random one would need
half a million columns.
"""
FIRST_ROWS, GRAM_ROWS = 8, 64
"""A look at few rows excludes nearly all others; so many are enough to be sure."""

UNIFORM_KURTOSIS, NORMAL_KURTOSIS = 1.8, 3.0


@dataclass(frozen=True)
class Draw:
    """The numbers of one map."""

    count: int
    mean: float
    std: float
    """About zero, as a variance that signals are multiplied by: √E w²."""
    maximum: float
    kurtosis: float
    zero_share: float
    kind: DrawKind

    @property
    def error(self) -> float:
        """The relative sampling error of `std`."""
        if self.kind in ("constant", "orthogonal"):
            return 0.0
        return math.sqrt(max(self.kurtosis - 1, 0.1) / (4 * max(self.count, 1)))

    @property
    def tolerance(self) -> float:
        """How far, relatively, a formula may be off."""
        return ERRORS * self.error + ROUNDING

    def equals(self, std: float) -> bool:
        """Whether the draw may have this standard deviation."""
        return bool(std) and abs(self.std / std - 1) <= self.tolerance


def measure_draw(values: Tensor, matrices: Tensor | None = None) -> Draw:
    """Measure the numbers of one map; `matrices`, (maps, outputs, inputs), are the same numbers as
    matrices, to see whether they are orthogonal.
    """
    sample = sample_numbers(values)
    count = sample.numel()
    low, high = (one.item() for one in torch.aminmax(sample)) if count else (math.nan, math.nan)
    maximum = max(abs(low), abs(high))
    if not math.isfinite(low + high):
        return Draw(count, math.nan, math.nan, math.nan, math.nan, 0.0, "other")
    unit = sample / maximum if maximum else sample  # so that no fourth power underflows
    square = unit.square()
    second = float(square.mean())
    kurtosis = float(square.square().mean()) / second**2 if second else math.nan
    zeros = 1 - float(sample.count_nonzero()) / count
    mean, std = float(unit.mean()) * maximum, math.sqrt(second) * maximum
    draw = Draw(count, mean, std, maximum, kurtosis, zeros, "other")
    if low == high:
        return _with_kind(draw, "constant")
    if zeros > MOSTLY_ZERO:
        return _with_kind(draw, "sparse")
    if matrices is not None and is_orthogonal(matrices):
        return _with_kind(draw, "orthogonal")
    return _with_kind(draw, _guess_distribution(draw))


def sample_numbers(values: Tensor) -> Tensor:
    """All numbers, or evenly spaced ones of a large tensor, as float32; no axis is favoured."""
    flat = values.detach().reshape(-1)
    step = -(-flat.numel() // MOST_NUMBERS)
    while step > 1 and any(math.gcd(step, size) > 1 for size in values.shape):
        step += 1
    return flat[::step].float()


def is_orthogonal(matrices: Tensor) -> bool:
    """Whether the rows of every matrix, or else the columns, are orthogonal and equally long."""
    _, outputs, inputs = matrices.shape
    if min(outputs, inputs) < 2:
        return False
    rows = matrices.detach() if outputs <= inputs else matrices.detach().transpose(1, 2)
    if not _are_equal(rows[:1, :FIRST_ROWS].float().square().sum(-1)):
        return False
    rows = rows[:4, :GRAM_ROWS].float()
    norms = rows.square().sum(-1)
    if not _are_equal(norms):
        return False
    gram = rows @ rows.transpose(1, 2) / norms.mean()
    off = gram - torch.eye(gram.shape[-1], device=gram.device)
    return float(off.abs().max()) < 10 * NORM_TOLERANCE


def _are_equal(norms: Tensor) -> bool:
    mean = float(norms.mean())
    return mean > 0 and float((norms / mean - 1).abs().max()) <= NORM_TOLERANCE


def _with_kind(draw: Draw, kind: DrawKind) -> Draw:
    return Draw(draw.count, draw.mean, draw.std, draw.maximum, draw.kurtosis, draw.zero_share, kind)


def _guess_distribution(draw: Draw) -> DrawKind:
    """By kurtosis and by the largest number, √3 standard deviations at most if uniform; around
    zero, as every start is.
    """
    slack = 1 / math.sqrt(max(draw.count, 1))
    if draw.count < FEWEST_NUMBERS or abs(draw.mean) > 5 * draw.std * slack:
        return "other"
    if abs(draw.kurtosis - UNIFORM_KURTOSIS) < 5 * slack and draw.maximum / draw.std < math.sqrt(
        3
    ) * (1 + 2 * slack + ROUNDING):
        return "uniform"
    if abs(draw.kurtosis - NORMAL_KURTOSIS) < 5 * math.sqrt(24) * slack:
        return "normal"
    return "truncated" if UNIFORM_KURTOSIS < draw.kurtosis < NORMAL_KURTOSIS else "other"
