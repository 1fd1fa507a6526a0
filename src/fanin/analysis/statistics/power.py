"""Power of paired comparisons: what difference could have been seen, how many replicates decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fanin.analysis.statistics.vectors import MIN_FOR_TEST, check_level
from fanin.errors import UsageError

POWER = 0.8

MOST_REPLICATES = 10_000
"""More than so many replicates are not counted."""


def find_detectable_difference(
    sd: float, n: int, power: float = POWER, alpha: float = 0.05
) -> float:
    """The smallest true difference that a two-sided paired t test of n pairs detects at this power.

    δ = λ · sd / √n, where λ solves P(T > t_{1 − α/2, n − 1}) = power for T noncentral t with n − 1
    degrees of freedom and noncentrality λ. (The other tail's share of the power, below 1e-5 at a
    power of 0.8, is neglected.)

    Args:
        sd: standard deviation of the paired differences, in the metric's unit.
        n: pairs, at least 2.
        power: the probability of seeing the difference.
        alpha: the test's level; of m comparisons at 5 %, 0.05 / m is Holm's first and strictest.

    Reference: J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. 1988,
    chapter 2; N. L. Johnson and B. L. Welch, Applications of the non-central t-distribution,
    Biometrika 31, 1940.
    """
    if n < 2:
        raise UsageError(f"A detectable difference needs at least 2 pairs, not {n}.")
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    noncentrality = float(special.nctdtrinc(n - 1, 1 - power, critical))
    return noncentrality * sd / math.sqrt(n)


def compute_power(difference: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """The probability that a two-sided paired t test of n pairs sees a true difference, by the
    noncentral t distribution with noncentrality |difference|·√n / sd.
    """
    if n < 2:
        raise UsageError(f"A test needs at least 2 pairs, not {n}.")
    if sd == 0:
        return 1.0 if difference else alpha
    critical = float(special.stdtrit(n - 1, 1 - alpha / 2))
    return 1 - float(special.nctdtr(n - 1, abs(difference) * math.sqrt(n) / sd, critical))


def count_needed_replicates(
    difference: float, sd: float, power: float = POWER, alpha: float = 0.05
) -> int | None:
    """The fewest pairs that see this difference at this power, if it is the true one; at least
    `MIN_FOR_TEST`, and so many that a sign-flip test can reach the level: 2^(1 − n) ≤ α.

    None if that is more than `MOST_REPLICATES`, which it is for a difference of zero.
    """
    check_level(alpha)
    if difference == 0 or math.isnan(difference) or math.isnan(sd):
        return None
    least = max(MIN_FOR_TEST, math.ceil(1 - math.log2(alpha)))
    return _find_least(lambda n: compute_power(difference, sd, n, alpha) >= power, least)


def find_detectable_share(n: int, power: float = POWER, alpha: float = 0.05) -> float:
    """The smallest probability of winning that a two-sided sign test of n pairs without ties sees
    at this power; nan if it can never reject, as with fewer than 1 − log₂ α pairs.
    """
    critical = int(_find_most_losses(np.array([n]), alpha)[0])
    if critical < 0:
        return math.nan
    # P(Bin(n, 1 − share) ≤ critical) = power; bdtri inverts for the probability of a loss.
    return 1 - float(special.bdtri(critical, n, power))


@lru_cache(maxsize=1_000)
def count_needed_wins(share: float, power: float = POWER, alpha: float = 0.05) -> int | None:
    """The fewest pairs for which a sign test sees a true probability of winning at this power.

    None if that is more than `MOST_REPLICATES`, which it is for a share of a half.

    Args:
        share: of wins, in [0, 1]; one below a half is seen as well as its opposite.
        power: the probability of seeing it.
        alpha: the test's level.
    """
    gap = abs(share - 0.5)
    if not gap > 0:
        return None
    # The power does not always grow with n, as wins are whole: the first n that has it counts. It
    # lies near what the normal distribution says, so the search starts well below that.
    z = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    first = max(MIN_FOR_TEST, int(0.6 * z * z * 0.25 / gap**2) - 20)
    while first <= MOST_REPLICATES:
        n = np.arange(first, min(first + max(first // 2, 50), MOST_REPLICATES + 1))
        critical = _find_most_losses(n, alpha)
        powers = special.bdtr(np.maximum(critical, 0), n, 0.5 - gap)
        enough = np.flatnonzero((critical >= 0) & (powers >= power))
        if len(enough):
            return int(n[enough[0]])
        first = int(n[-1]) + 1
    return None


def _find_most_losses(n: NDArray[np.int_], alpha: float) -> NDArray[np.int_]:
    """The most losses of n pairs with which a sign test still rejects; −1 if there are none."""
    # bdtrik interpolates between whole numbers: at the one below it, or the next, the test rejects.
    near = np.floor(special.bdtrik(alpha / 2, n, 0.5))
    low = np.where(np.isfinite(near), near, 0).astype(np.int64) - 1
    for candidate in (low + 1, low + 2):
        rejects = (candidate >= 0) & (2 * special.bdtr(candidate, n, 0.5) <= alpha)
        low = np.where(rejects, candidate, low)
    return np.where((low >= 0) & (2 * special.bdtr(low, n, 0.5) <= alpha), low, -1)


def _find_least(is_enough: Callable[[int], bool], least: int) -> int | None:
    """The fewest n ≥ least that are enough, by doubling and halving."""
    high = least
    while not is_enough(high):
        if high >= MOST_REPLICATES:
            return None
        high = min(2 * high, MOST_REPLICATES)
    low = max(least, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return high
