"""Whether numbers may be draws of a distribution: tests of mean, variance and distribution, without
scipy, which the light core does not have.

| test | statistic | law under the hypothesis |
|---|---|---|
| mean | √n·(mean - μ)/σ | N(0, 1) |
| variance | f·Σ(x - μ)²/(n·σ²), f = 2n/(κ - 1) | χ² of f degrees of freedom |
| distribution | Kolmogorov–Smirnov distance D from the reference | Kolmogorov's series |

κ is the fourth standardized moment of the distribution, so that f gives the statistic its mean and
variance; of a normal distribution κ is 3, f is n, and the law exact. Of fewer than 30 numbers κ
counts as 3 at least, which is careful for light tails, where the law would not hold yet. The
distance is that of two samples, of n numbers and of m of the reference, at √e + 0.12 + 0.11/√e
times D with e = n·m/(n + m) (Stephens 1970), which is good from a few numbers on. One p-value sums
up the three: the smallest times their number (Bonferroni).

Entries of some weights are not independent (orthogonal, sparse); their moments then vary less than
the laws say, so that the tests err towards "as recorded".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST = 8
"""Fewer numbers say nothing about a distribution."""
_FEW = 30
_SHARE = 1e-12
"""A relative difference that rounding makes in float64."""


@dataclass(frozen=True)
class Expected:
    """What numbers are expected to be draws of."""

    mean: float | None
    """None if it is not known: then the numbers' own."""
    std: float
    reference: Tensor | None = None
    """Draws of the same rule, float64 and sorted; None if the rule cannot be drawn again."""


def measure_p_values(values: Tensor, expected: Expected) -> dict[str, float]:
    """The p-value of each test that can be done, by name; values are flat and float64."""
    n = len(values)
    if n == 0:
        return {}
    if expected.std == 0:
        same = float(values.min()) == float(values.max())
        same = same and expected.mean in (None, float(values[0]))
        return {"constant": 1.0 if same else 0.0}
    found = {"variance": _compare_variance(values, expected)}
    if expected.mean is not None:
        found["mean"] = _compare_mean(values, expected.mean, expected.std)
    if expected.reference is not None and n >= _LEAST:
        found["distribution"] = _compare_distributions(values, expected.reference)
    return found


def combine(p_values: Mapping[str, float]) -> float | None:
    """One p-value for several tests of the same numbers (Bonferroni); None if there are none."""
    return min(1.0, len(p_values) * min(p_values.values())) if p_values else None


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: a rejection below the level holds for all tests together.

    >>> adjust_holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _compare_mean(values: Tensor, mean: float, std: float) -> float:
    z = math.sqrt(len(values)) * (float(values.mean()) - mean) / std
    return math.erfc(abs(z) / math.sqrt(2)) if math.isfinite(z) else 0.0


def _compare_variance(values: Tensor, expected: Expected) -> float:
    n = len(values)
    centre = float(values.mean()) if expected.mean is None else expected.mean
    ratio = float((values - centre).square().mean()) / expected.std**2
    if not math.isfinite(ratio):
        return 0.0
    kurtosis = _measure_kurtosis(values if expected.reference is None else expected.reference)
    if n < _FEW:
        kurtosis = max(kurtosis, 3.0)
    if kurtosis <= 1 + _SHARE:  # all numbers lie equally far from the mean
        return 1.0 if abs(ratio - 1) <= 1e-6 else 0.0
    freedom = 2 * n / (kurtosis - 1)
    half, at = (torch.tensor(freedom / 2 * factor, dtype=torch.float64) for factor in (1, ratio))
    lower, upper = torch.special.gammainc(half, at), torch.special.gammaincc(half, at)
    return min(1.0, 2 * float(torch.minimum(lower, upper)))


def _measure_kurtosis(values: Tensor) -> float:
    centred = (values - values.mean()).square()
    variance = float(centred.mean())
    return float(centred.square().mean()) / variance**2 if variance > 0 else 1.0


def _compare_distributions(values: Tensor, reference: Tensor) -> float:
    """The two-sample test of Kolmogorov and Smirnov; the reference is sorted."""
    distance = measure_distance(values, reference)
    n, m = len(values), len(reference)
    root = math.sqrt(n * m / (n + m))
    return _survive(distance * (root + 0.12 + 0.11 / root))


def measure_distance(values: Tensor, reference: Tensor) -> float:
    """The largest difference of the two distribution functions; ties count as one step."""
    ordered = values.sort().values
    at = torch.cat([ordered, reference])
    one = torch.searchsorted(ordered, at, right=True).double() / len(ordered)
    other = torch.searchsorted(reference, at, right=True).double() / len(reference)
    return float((one - other).abs().max())


def _survive(x: float) -> float:
    """Kolmogorov's Q(x) = 2·Σ (-1)^(k-1)·exp(-2·k²·x²)."""
    if x < 0.2:  # 1 - 5e-13 there, where the series converges slowly
        return 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    total: float = sum(terms)
    return min(1.0, max(0.0, 2 * total))
