"""Unpaired differences: two groups of runs that share no batches, masks or draws, or that were
trained in different environments, so that no run has a partner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from fanin.analysis.statistics.vectors import LEVEL, MIN_FOR_INTERVAL, MIN_FOR_TEST, to_vector


@dataclass(frozen=True)
class UnpairedDifference:
    """The mean of one group minus the mean of another."""

    n: int
    """Runs of the smaller group."""
    mean: float
    sd: float
    """√(s₁² + s₂²): what one run of each differs by, if their means are equal."""
    low: float
    """Of Welch's 95 % interval; nan with fewer than `MIN_FOR_INTERVAL` runs in a group."""
    high: float
    p: float
    """Of Welch's test, or of Mann and Whitney's if a run diverged; nan with fewer than
    `MIN_FOR_TEST` runs in a group.
    """


def compare_groups(
    first: ArrayLike, second: ArrayLike, diverged: tuple[int, int] = (0, 0), level: float = LEVEL
) -> UnpairedDifference:
    """The difference of two groups of runs, first − second.

    The interval is Welch's: (x̄₁ − x̄₂) ± t_{(1 + level)/2, ν} · √(s₁²/n₁ + s₂²/n₂), with the degrees
    of freedom ν of Welch and Satterthwaite. If a run diverged there is no mean: the p value is then
    that of Mann and Whitney's rank test, with diverged runs as ties below all others.

    Args:
        first: runs that ended with a value, shape (n₁ − diverged,), signed so that higher is
            better.
        second: the same of the other group.
        diverged: how many further runs of each diverged.
        level: the interval's confidence, in (0, 1).

    Reference: B. L. Welch, The generalization of "Student's" problem when several different
    population variances are involved, Biometrika 34, 1947; H. B. Mann and D. R. Whitney, On a test
    of whether one of two random variables is stochastically larger than the other, Annals of
    Mathematical Statistics 18, 1947.
    """
    a, b = to_vector(first), to_vector(second)
    n = min(len(a) + diverged[0], len(b) + diverged[1])
    if any(diverged):
        p = _compute_rank_p_value(a, b, diverged) if n >= MIN_FOR_TEST else math.nan
        return UnpairedDifference(n, math.nan, math.nan, math.nan, math.nan, p)
    if n < 2:
        mean = float(a.mean() - b.mean()) if n else math.nan
        return UnpairedDifference(n, mean, math.nan, math.nan, math.nan, math.nan)
    mean = float(a.mean() - b.mean())
    shares = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = math.sqrt(sum(shares))
    sd = math.sqrt(a.var(ddof=1) + b.var(ddof=1))
    freedom = _count_freedom(shares, (len(a), len(b)))
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    has_interval = n >= MIN_FOR_INTERVAL
    low, high = (mean - half, mean + half) if has_interval else (math.nan, math.nan)
    p = _compute_welch_p_value(mean, error, freedom) if n >= MIN_FOR_TEST else math.nan
    return UnpairedDifference(n, mean, sd, low, high, p)


def _count_freedom(shares: tuple[float, float], sizes: tuple[int, int]) -> float:
    """ν = (v₁ + v₂)² / (v₁²/(n₁ − 1) + v₂²/(n₂ − 1)), where vᵢ = sᵢ²/nᵢ."""
    below = sum(share**2 / (size - 1) for share, size in zip(shares, sizes, strict=True))
    return float(sum(shares) ** 2 / below) if below else float(sum(sizes) - 2)


def _compute_welch_p_value(mean: float, error: float, freedom: float) -> float:
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(special.stdtr(freedom, -abs(mean) / error))


def _compute_rank_p_value(a: np.ndarray, b: np.ndarray, diverged: tuple[int, int]) -> float:
    from scipy import stats  # imports in two seconds, and is rarely needed

    worst = min(np.min(group, initial=0.0) for group in (a, b)) - 1.0
    groups = [
        np.concatenate([group, np.full(count, worst)])
        for group, count in zip((a, b), diverged, strict=True)
    ]
    if len(set(np.concatenate(groups).tolist())) == 1:
        return 1.0
    return float(stats.mannwhitneyu(*groups, alternative="two-sided").pvalue)
