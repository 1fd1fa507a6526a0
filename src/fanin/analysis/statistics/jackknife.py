"""Jackknife intervals of statistics that are no means: ratios of spreads, for example."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin.analysis.statistics.intervals import Estimate, estimate
from fanin.analysis.statistics.vectors import LEVEL
from fanin.errors import UsageError

Statistic = Callable[[NDArray[np.float64]], float]


def jackknife(values: ArrayLike, statistic: Statistic, level: float = LEVEL) -> Estimate:
    """A statistic of n replicates, corrected for its bias of order 1/n, and its interval.

    With θ of all replicates and θ_(i) of all but i, the pseudo-values n·θ − (n − 1)·θ_(i) are
    treated as a sample: their mean ± Student's t interval. Whole replicates are left out, so what
    is paired within a replicate stays paired. For logarithms of variances this holds whatever the
    distribution, to the first order; the F test does not.

    Args:
        values: a row per replicate, shape (n, …); n at least 3.
        statistic: from such an array to a number.
        level: the interval's confidence.

    Returns:
        nan in all fields if the statistic is not finite, for all replicates or for all but one.

    Reference: R. G. Miller, Jackknifing Variances, Annals of Mathematical Statistics 39, 1968.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n < 3:
        raise UsageError(f"A jackknife needs at least 3 replicates, not {n}.")
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = statistic(x)
        parts = np.array([statistic(np.delete(x, i, axis=0)) for i in range(n)])
    if not (math.isfinite(whole) and np.isfinite(parts).all()):
        return Estimate(n, math.nan, math.nan, math.nan)
    return estimate(n * whole - (n - 1) * parts, level)
