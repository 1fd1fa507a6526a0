"""Proportions: the divergence rate, wins of paired runs, and their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from fanin.analysis.statistics.vectors import LEVEL, check_level
from fanin.errors import UsageError


@dataclass(frozen=True)
class Proportion:
    """A share count / n and its interval; nan if n is 0."""

    count: int
    n: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class WinCount:
    """Paired runs of a and b: how many a won, lost and tied, and the exact sign test."""

    wins: int
    losses: int
    ties: int
    share: float
    """(wins + ties / 2) / n, the estimated probability that a is better; nan without pairs."""
    p_value: float
    """Two-sided: P(as few as min(wins, losses), or fewer, of wins + losses fair coins) · 2."""

    @property
    def n(self) -> int:
        return self.wins + self.losses + self.ties


def compute_divergence_rate(diverged: int, ok: int) -> float:
    """diverged / (diverged + ok): the share of finished runs that diverged; nan without any."""
    return diverged / (diverged + ok) if diverged + ok else math.nan


def estimate_proportion(count: int, n: int, level: float = LEVEL) -> Proportion:
    """A share and Wilson's interval, the one that a divergence rate is given with:

        (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n),  z = Φ⁻¹((1 + level)/2).

    On average over rates it has the level; at a single rate its coverage may fall short by a few
    percent. `bound_proportion` never falls short.

    Reference: E. B. Wilson, Journal of the American Statistical Association 22, 1927; L. D. Brown,
    T. T. Cai and A. DasGupta, Statistical Science 16, 2001.
    """
    _check_count(count, n)
    if n == 0:
        return Proportion(count, n, math.nan, math.nan, math.nan)
    z = float(special.ndtri((1 + check_level(level)) / 2))
    share = count / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return Proportion(
        count, n, share, 0.0 if count == 0 else low, 1.0 if count == n else high
    )  # without rounding errors at 0 and 1


def bound_proportion(count: int, n: int, level: float = LEVEL) -> Proportion:
    """A share and Clopper and Pearson's interval, whose coverage is at least the level at any rate.

    Its ends are quantiles of beta distributions.

    Reference: C. J. Clopper and E. S. Pearson, Biometrika 26, 1934.
    """
    _check_count(count, n)
    if n == 0:
        return Proportion(count, n, math.nan, math.nan, math.nan)
    alpha = 1 - check_level(level)
    low = float(special.betaincinv(count, n - count + 1, alpha / 2)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 1 - alpha / 2)) if count < n else 1.0
    return Proportion(count, n, count / n, low, high)


def count_wins(wins: int, losses: int, ties: int = 0) -> WinCount:
    """The exact sign test of paired runs. Ties say nothing about the direction: the test leaves
    them out, and the share counts each as half a win.
    """
    if min(wins, losses, ties) < 0:
        raise UsageError(f"Counts are not negative; received {wins}, {losses} and {ties}.")
    n, decided = wins + losses + ties, wins + losses
    share = (wins + ties / 2) / n if n else math.nan
    p_value = min(1.0, 2 * float(special.bdtr(min(wins, losses), decided, 0.5))) if n else math.nan
    return WinCount(wins, losses, ties, share, p_value)


def _check_count(count: int, n: int) -> None:
    if not 0 <= count <= n:
        raise UsageError(f"Expected a count between 0 and n = {n}; received {count}.")
