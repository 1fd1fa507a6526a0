"""Times to a target, some of them censored: a run that stopped before it reached the target.

A censored time is a lower bound, and never the time itself: the epoch in which early stopping ended
a run is not an epoch in which it converged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin.analysis.statistics.paired_differences import PairedDifference, compare_pairs
from fanin.analysis.statistics.proportions import WinCount, count_wins
from fanin.analysis.statistics.vectors import to_vector
from fanin.errors import UsageError


@dataclass(frozen=True)
class SurvivalCurve:
    """Kaplan and Meier's estimate of the share of runs that have not reached the target yet."""

    times: NDArray[np.float64]
    """The times at which a run reached it, ascending."""
    shares: NDArray[np.float64]
    """S(t) from each of these times on; 1 before the first."""
    horizon: float
    """The longest time that was watched: nothing is known of later ones."""

    @property
    def median(self) -> float:
        """The first time with S(t) ≤ ½: half of the runs have reached the target by then; inf if
        that was not seen.
        """
        within = np.flatnonzero(self.shares <= 0.5 + 1e-12)
        return float(self.times[within[0]]) if len(within) else math.inf

    def compute_restricted_mean(self, until: float | None = None) -> float:
        """The mean of min(time, until): the area under S from 0 to `until`, by default the horizon.

        Raises `UsageError` for a time after the horizon.
        """
        end = self.horizon if until is None else until
        if not 0 < end <= self.horizon:
            raise UsageError(
                f"Expected a time up to the longest that was watched, {self.horizon:g}; received "
                f"{end:g}."
            )
        inside = self.times < end
        edges = np.concatenate([[0.0], self.times[inside], [end]])
        heights = np.concatenate([[1.0], self.shares[inside]])
        return float((np.diff(edges) * heights).sum())


@dataclass(frozen=True)
class TimeComparison:
    """Paired times of a and b to a target."""

    order: WinCount
    """Pairs in which a was known to be sooner (wins) or later (losses), and ties: both reached it
    at the same time. The sign test is of these.
    """
    unknown: int
    """Pairs of unknown order: whichever was censored first might have been sooner."""
    restricted: PairedDifference
    """The difference of min(time, until), a − b, which is known of every pair."""
    until: float
    """The longest time up to which every run was watched."""


def find_time(values: ArrayLike, target: float, *, higher_is_better: bool) -> tuple[float, bool]:
    """(the first epoch, from 1, whose value reaches the target, True); or (epochs, False).

    Args:
        values: one per epoch, such as the validation accuracy. nan reaches nothing.
        target: what to reach.
        higher_is_better: whether it is reached from below.
    """
    x = to_vector(values)
    reached = np.flatnonzero(x >= target if higher_is_better else x <= target)
    return (float(reached[0]) + 1, True) if len(reached) else (float(len(x)), False)


def estimate_survival(times: ArrayLike, reached: ArrayLike) -> SurvivalCurve:
    """Kaplan and Meier's estimate, S(t) = Π over t_i ≤ t of (1 − d_i/n_i): d_i runs reached the
    target at t_i, n_i were watched that long.

    A diverged run never reaches the target: give it the time up to which others were watched.

    Args:
        times: positive, shape (n,): when a run reached the target, or when it was last watched.
        reached: which of the two, shape (n,).

    Reference: E. L. Kaplan and P. Meier, Journal of the American Statistical Association 53, 1958.
    """
    t, event = _check_times(times, reached)
    at = np.unique(t[event])
    watched = (t[None, :] >= at[:, None]).sum(axis=1)
    events = (t[event][None, :] == at[:, None]).sum(axis=1)
    return SurvivalCurve(at, np.cumprod(1 - events / watched), float(t.max()))


def compare_times(
    a: ArrayLike, reached_a: ArrayLike, b: ArrayLike, reached_b: ArrayLike
) -> TimeComparison:
    """Compare paired times, of which some are censored.

    The order of a pair is known if the sooner of the two reached the target: the other, whether it
    reached it or was watched longer without, is later. (A run that was censored at the very time
    the other reached it is later.) Otherwise it is unknown. The sign test leaves unknown pairs out,
    which is fair if when a run stops does not depend on when it would have reached the target; the
    restricted mean does not need that.

    Args:
        a, b: times of n paired runs, shape (n,).
        reached_a, reached_b: whether they are times of reaching the target, or censored.

    Reference: P. C. O'Brien and T. R. Fleming, A Paired Prentice-Wilcoxon Test for Censored Paired
    Data, Biometrics 43, 1987; P. Royston and M. K. B. Parmar, BMC Medical Research Methodology 13,
    2013 (restricted means).
    """
    (t, event), (u, other) = _check_times(a, reached_a), _check_times(b, reached_b)
    if t.shape != u.shape:
        raise UsageError(
            f"Expected as many times of a as of b, one per pair; received {len(t)} and {len(u)}."
        )
    ties = event & other & (t == u)
    wins = event & (np.where(other, t < u, t <= u))
    losses = other & (np.where(event, u < t, u <= t))
    # Of a run that reached the target min(time, until) is known for every `until`.
    ends = [*t[~event], *u[~other]]
    until = float(min(ends)) if ends else float(max(t.max(), u.max()))
    return TimeComparison(
        count_wins(int(wins.sum()), int(losses.sum()), int(ties.sum())),
        int(len(t) - wins.sum() - losses.sum() - ties.sum()),
        compare_pairs(np.minimum(t, until), np.minimum(u, until)),
        until,
    )


def _check_times(
    times: ArrayLike, reached: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    t, event = to_vector(times), np.asarray(reached, dtype=np.bool_)
    if t.shape != event.shape or not len(t):
        raise UsageError(
            f"Expected one or more times, and for each whether the target was reached; received "
            f"{len(t)} and {event.size}."
        )
    if not (t > 0).all():
        raise UsageError("Times are positive numbers.")
    return t, event
