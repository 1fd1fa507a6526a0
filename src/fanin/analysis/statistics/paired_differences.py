"""Paired differences: the mean of a − b over replicates, its interval, its t test; equivalence."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import special

from fanin.analysis.statistics.intervals import Estimate, estimate
from fanin.analysis.statistics.power import find_detectable_difference
from fanin.analysis.statistics.vectors import LEVEL, MIN_FOR_TEST, check_level, to_pairs
from fanin.errors import UsageError


@dataclass(frozen=True)
class PairedDifference:
    """The mean of a − b over the n replicates that both have, and its test."""

    estimate: Estimate
    p_value: float
    """Two-sided paired t test; nan below `MIN_FOR_TEST` replicates."""
    detectable: float
    """`find_detectable_difference`, at every n from 2 on; nan below."""


@dataclass(frozen=True)
class EquivalenceTest:
    """Whether a difference is smaller than a margin: two one-sided t tests."""

    estimate: Estimate
    """The mean difference with its interval of 1 − 2α: the two tests at α reject exactly if it lies
    within the margin.
    """
    margin: float
    p_value: float
    """The larger of the two one-sided; nan below `MIN_FOR_TEST` replicates."""
    is_equivalent: bool
    """Whether p is at most α. False says nothing: not shown to be equivalent is not different."""


def compare_pairs(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> PairedDifference:
    """Student's t test of the differences a − b of paired replicates, both of shape (n,)."""
    x, y = to_pairs(a, b)
    difference = estimate(x - y, level)
    n, sd = difference.n, difference.sd
    p_value = _compute_p_value(difference, 0.0) if n >= MIN_FOR_TEST else math.nan
    detectable = find_detectable_difference(sd, n) if n >= 2 else math.nan
    return PairedDifference(difference, p_value, detectable)


def judge_equivalence(
    a: ArrayLike, b: ArrayLike, margin: float, alpha: float = 0.05
) -> EquivalenceTest:
    """Two one-sided t tests of paired replicates: of mean(a − b) ≤ −margin, and of ≥ margin.

    Args:
        a, b: the replicates, both of shape (n,).
        margin: the smallest difference that matters, chosen before the runs; positive.
        alpha: the level of each test.

    Reference: D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.
    """
    if not 0 < margin < math.inf:
        raise UsageError(f"A margin of equivalence is a positive number; received {margin}.")
    x, y = to_pairs(a, b)
    difference = estimate(x - y, 1 - 2 * check_level(alpha))
    if difference.n < MIN_FOR_TEST:
        return EquivalenceTest(difference, margin, math.nan, False)
    sides = (
        _compute_upper_p_value(difference.mean + margin, difference),
        _compute_upper_p_value(margin - difference.mean, difference),
    )
    return EquivalenceTest(difference, margin, max(sides), max(sides) <= alpha)


def _compute_p_value(difference: Estimate, expected: float) -> float:
    """Two-sided p of the mean's distance from what is expected."""
    if difference.sd == 0:
        return 1.0 if difference.mean == expected else 0.0
    t = (difference.mean - expected) / (difference.sd / math.sqrt(difference.n))
    return float(2 * special.stdtr(difference.n - 1, -abs(t)))


def _compute_upper_p_value(distance: float, difference: Estimate) -> float:
    """One-sided p of a distance that is not positive if nothing is so."""
    if difference.sd == 0:
        return 0.0 if distance > 0 else 1.0
    t = distance / (difference.sd / math.sqrt(difference.n))
    return float(special.stdtr(difference.n - 1, -t))
