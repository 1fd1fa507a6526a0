"""Intervals of one condition: its mean (Student), its median (order statistics), its spread (χ²).

Replicates are the unit. No function invents a value for a diverged run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats has the same distributions but imports in two seconds

from fanin.analysis.statistics.vectors import LEVEL, MIN_FOR_INTERVAL, check_level, to_vector


@dataclass(frozen=True)
class Estimate:
    """A mean over n replicates. sd is nan below n = 2, half_width below `MIN_FOR_INTERVAL`."""

    n: int
    mean: float
    sd: float
    half_width: float
    """The interval is mean ± half_width."""

    @property
    def low(self) -> float:
        """The lower end of the interval; nan without one."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end of the interval; nan without one."""
        return self.mean + self.half_width


@dataclass(frozen=True)
class MedianEstimate:
    """A median over n runs and its interval, whose ends are two of the runs.

    An infinite number stands for a diverged run: the median or an end falls on one.
    """

    n: int
    median: float
    low: float
    high: float
    """nan, as `low`, if no two runs enclose the median with the level that was asked for."""
    coverage: float
    """The probability that the interval encloses the median: at least the level, as runs are
    whole; nan without an interval.
    """


@dataclass(frozen=True)
class SpreadEstimate:
    """A standard deviation over n replicates and its interval; nan as in `Estimate`."""

    n: int
    sd: float
    low: float
    high: float


def estimate(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean, standard deviation (n − 1) and half-width of Student's t interval, t_{(1 + level)/2, n
    − 1} · sd / √n.

    Args:
        values: shape (n,). A nan makes the whole estimate nan: nothing is dropped silently.
        level: the interval's confidence, in (0, 1).
    """
    x = to_vector(values)
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    sd = float(x.std(ddof=1)) if n >= 2 else math.nan
    enough = n >= MIN_FOR_INTERVAL
    half_width = (
        float(special.stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n) if enough else math.nan
    )
    return Estimate(n, mean, sd, half_width)


def compute_median(values: ArrayLike, diverged: int, *, higher_is_better: bool) -> float:
    """The median over all finished runs, with diverged runs worse than any value.

    nan if the median falls on a diverged run.
    """
    runs = _add_worst(values, diverged, higher_is_better)
    median = float(np.median(runs)) if len(runs) else math.nan
    return median if math.isfinite(median) else math.nan


def estimate_median(
    values: ArrayLike, diverged: int = 0, *, higher_is_better: bool = True, level: float = LEVEL
) -> MedianEstimate:
    """The median over all finished runs and its exact interval [x_(k), x_(n + 1 − k)].

    k is the largest number with 1 − 2·P(Bin(n, ½) < k) ≥ level, which holds whatever the runs'
    distribution is, if it is continuous. 95 % need six runs.

    Args:
        values: the runs that ended with a value, shape (n − diverged,).
        diverged: how many diverged. They are worse than any value.
        higher_is_better: on which side the diverged runs stand.
        level: the least confidence of the interval, in (0, 1).

    Reference: H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1.
    """
    x = np.sort(_add_worst(values, diverged, higher_is_better))
    n, alpha = len(x), 1 - check_level(level)
    # bdtr(k − 1, n, ½) is P(Bin(n, ½) < k); it is kept at k = 0, where it is 0.
    outside = [0.0, *(2 * float(special.bdtr(k - 1, n, 0.5)) for k in range(1, n // 2 + 1))]
    k = max(k for k, share in enumerate(outside) if share <= alpha)
    median = float(np.median(x)) if n and not np.isnan(x).any() else math.nan
    if k == 0 or math.isnan(median):
        return MedianEstimate(n, median, math.nan, math.nan, math.nan)
    return MedianEstimate(n, median, float(x[k - 1]), float(x[n - k]), 1 - outside[k])


def estimate_spread(values: ArrayLike, level: float = LEVEL) -> SpreadEstimate:
    """The standard deviation s and its interval s·√((n − 1)/χ²_{(1 ± level)/2, n − 1}).

    It supposes normal values, and unlike the mean's interval it does depend on that.
    """
    x = to_vector(values)
    n, alpha = len(x), 1 - check_level(level)
    sd = float(x.std(ddof=1)) if n >= 2 else math.nan
    if n < MIN_FOR_INTERVAL:
        return SpreadEstimate(n, sd, math.nan, math.nan)
    # chdtri takes the probability above.
    low, high = (
        sd * math.sqrt((n - 1) / special.chdtri(n - 1, above))
        for above in (alpha / 2, 1 - alpha / 2)
    )
    return SpreadEstimate(n, sd, low, high)


def pool_deviations(deviations: ArrayLike) -> float:
    """√(mean of sd²), for standard deviations of equally many values; nan if there are none."""
    sds = to_vector(deviations)
    return math.sqrt(float(np.mean(np.square(sds)))) if len(sds) else math.nan


def _add_worst(values: ArrayLike, diverged: int, higher_is_better: bool) -> np.ndarray:
    worst = -math.inf if higher_is_better else math.inf
    return np.concatenate([to_vector(values), np.full(diverged, worst)])
