"""Statistics of replicates: pure functions on arrays.

Replicates are the unit: intervals are Student's t over replicates, and comparisons are paired by
replicate. No function invents a value for a diverged run. Diverged runs are counted, and they are
the worst values in medians and ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin.errors import MissingExtra, UsageError

try:
    from scipy import special  # scipy.stats has the same distributions but imports in two seconds
except ModuleNotFoundError:
    raise MissingExtra("scipy", "study", "Statistics") from None

MIN_FOR_INTERVAL = 5
"""Fewest replicates for an interval."""

MIN_FOR_TEST = 10
"""Fewest paired replicates for a test."""

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n replicates. sd is nan below n = 2, half_width below `MIN_FOR_INTERVAL`."""

    n: int
    mean: float
    sd: float
    half_width: float
    """The interval is mean ± half_width."""


@dataclass(frozen=True)
class PairedDifference:
    """The mean of a − b over the n replicates that both have, and its test."""

    estimate: Estimate
    p_value: float
    """Two-sided paired t test; nan below `MIN_FOR_TEST` replicates."""
    detectable: float
    """With 2 or more replicates but too few to test: `find_detectable_difference`; else nan."""


def estimate(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean, standard deviation (n − 1) and half-width of Student's t interval, t_{(1 + level)/2, n
    − 1} · sd / √n.

    Args:
        values: shape (n,). A nan makes the whole estimate nan: nothing is dropped silently.
        level: the interval's confidence, in (0, 1).
    """
    x = _to_vector(values)
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    sd = float(x.std(ddof=1)) if n >= 2 else math.nan
    enough = n >= MIN_FOR_INTERVAL
    half_width = (
        float(special.stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n) if enough else math.nan
    )
    return Estimate(n, mean, sd, half_width)


def compute_divergence_rate(diverged: int, ok: int) -> float:
    """diverged / (diverged + ok): the share of finished runs that diverged; nan without any."""
    return diverged / (diverged + ok) if diverged + ok else math.nan


def compute_median(values: ArrayLike, diverged: int, *, higher_is_better: bool) -> float:
    """The median over all finished runs, with diverged runs worse than any value.

    nan if the median falls on a diverged run.
    """
    worst = -math.inf if higher_is_better else math.inf
    runs = np.concatenate([_to_vector(values), np.full(diverged, worst)])
    median = float(np.median(runs)) if len(runs) else math.nan
    return median if math.isfinite(median) else math.nan


def rank(values: ArrayLike, *, higher_is_better: bool) -> NDArray[np.float64]:
    """Ranks from 1 (best). Ties share their mean rank; diverged runs (nan) share the last one.

    With x signed so that lower is better: rank_i = #{x_j < x_i} + (#{x_j = x_i} + 1) / 2.
    """
    x = _to_vector(values)
    x = np.where(np.isnan(x), np.inf, -x if higher_is_better else x)
    below = (x[None, :] < x[:, None]).sum(axis=1)
    equal = (x[None, :] == x[:, None]).sum(axis=1)
    return np.asarray(below + (equal + 1) / 2, dtype=np.float64)


def rank_rows(table: NDArray[np.float64], *, higher_is_better: bool) -> NDArray[np.float64]:
    """`rank` of every row of a matrix."""
    x = np.where(np.isnan(table), np.inf, -table if higher_is_better else table)
    ranks = [
        (x < column[:, None]).sum(axis=1) + ((x == column[:, None]).sum(axis=1) + 1) / 2
        for column in x.T
    ]
    return np.array(ranks, dtype=np.float64).T.reshape(table.shape)


def compare_pairs(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> PairedDifference:
    """Student's t test of the differences a − b of paired replicates, both of shape (n,)."""
    x, y = _to_vector(a), _to_vector(b)
    if x.shape != y.shape:
        raise UsageError(
            f"Expected as many values of a as of b, one per pair; received {len(x)} and {len(y)}."
        )
    difference = estimate(x - y, level)
    n, sd = difference.n, difference.sd
    p_value = _compute_p_value(difference) if n >= MIN_FOR_TEST else math.nan
    detectable = find_detectable_difference(sd, n) if 2 <= n < MIN_FOR_TEST else math.nan
    return PairedDifference(difference, p_value, detectable)


def find_detectable_difference(sd: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that a two-sided paired t test of n pairs detects at this power.

    δ = λ · sd / √n, where λ solves P(T > t_{1 − α/2, n − 1}) = power for T noncentral t with n − 1
    degrees of freedom and noncentrality λ. (The other tail's share of the power, below 1e-5 at a
    power of 0.8, is neglected.)

    Args:
        sd: standard deviation of the paired differences, in the metric's unit.
        n: pairs, at least 2.

    Reference: J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. 1988,
    chapter 2; N. L. Johnson and B. L. Welch, Applications of the non-central t-distribution,
    Biometrika 31, 1940.
    """
    if n < 2:
        raise UsageError(f"A detectable difference needs at least 2 pairs, not {n}.")
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    noncentrality = float(special.nctdtrinc(n - 1, 1 - power, critical))
    return noncentrality * sd / math.sqrt(n)


def pool_deviations(deviations: Sequence[float]) -> float:
    """√(mean of sd²), for standard deviations of equally many values; nan if there are none."""
    return math.sqrt(float(np.mean(np.square(deviations)))) if len(deviations) else math.nan


def _compute_p_value(difference: Estimate) -> float:
    if difference.sd == 0:
        return 1.0 if difference.mean == 0 else 0.0
    t = difference.mean / (difference.sd / math.sqrt(difference.n))
    return float(2 * special.stdtr(difference.n - 1, -abs(t)))


def _to_vector(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise UsageError(
            f"Expected a list of numbers, one per replicate, not an array of shape {x.shape}."
        )
    return x
