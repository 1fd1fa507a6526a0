"""Power of paired comparisons: what difference could have been seen, how many replicates decide."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    critical = _find_most_losses(n, alpha)
    if critical < 0:
        return math.nan
    # P(Bin(n, 1 − share) ≤ critical) = power; bdtri inverts for the probability of a loss.
    return 1 - float(special.bdtri(critical, n, power))


def count_needed_wins(share: float, power: float = POWER, alpha: float = 0.05) -> int | None:
    """The fewest pairs for which a sign test sees a true probability of winning at this power.

    None if that is more than `MOST_REPLICATES`, which it is for a share of a half.

    Args:
        share: of wins, in [0, 1]; one below a half is seen as well as its opposite.
        power: the probability of seeing it.
        alpha: the test's level.
    """
    better = max(share, 1 - share)
    if not better > 0.5:
        return None

    def sees(n: int) -> bool:
        critical = _find_most_losses(n, alpha)
        return critical >= 0 and float(special.bdtr(critical, n, 1 - better)) >= power

    return _find_least(sees, MIN_FOR_TEST)


def _find_most_losses(n: int, alpha: float) -> int:
    """The most losses of n pairs with which a sign test still rejects; −1 if there are none."""
    critical = int(special.bdtrik(alpha / 2, n, 0.5)) if 0.5**n <= alpha / 2 else -1
    # bdtrik interpolates; step to the exact integer.
    while critical >= 0 and special.bdtr(critical, n, 0.5) > alpha / 2:
        critical -= 1
    while critical >= -1 and n and special.bdtr(critical + 1, n, 0.5) <= alpha / 2:
        critical += 1
    return critical


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
