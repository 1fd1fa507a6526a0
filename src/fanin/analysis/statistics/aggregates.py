"""Aggregates over tasks × runs: interquartile mean, probability of improvement, bootstrap.

They are for several tasks with few runs each. For one task the mean with Student's interval says
more, so these functions refuse a single one. A run that diverged has no score: give it the worst
that its task knows, such as the accuracy of guessing, before these functions see it.

Reference: R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville and M. G. Bellemare, Deep
Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin import seeds
from fanin.analysis.statistics.vectors import LEVEL, check_level, to_matrix
from fanin.errors import UsageError

RESAMPLES = 10_000

_Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Aggregate:
    """A number over tasks × runs and its bootstrap interval."""

    value: float
    low: float
    high: float
    tasks: int
    runs: int
    """Of each task."""


def compute_interquartile_mean(scores: ArrayLike) -> float:
    """The mean of the scores without the lowest and the highest quarter (⌊n/4⌋ of n each).

    Less sensitive to outliers than the mean, and more efficient than the median.

    Args:
        scores: of any shape; all runs of all tasks together.
    """
    x = np.sort(np.asarray(scores, dtype=np.float64), axis=None)
    if not len(x) or np.isnan(x).any():
        raise UsageError("An interquartile mean needs one or more scores, and none that is nan.")
    cut = len(x) // 4
    return float(x[cut : len(x) - cut].mean())


def estimate_aggregate(
    scores: ArrayLike,
    aggregate: Callable[[_Scores], float] = compute_interquartile_mean,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Aggregate:
    """An aggregate with its percentile interval from a stratified bootstrap: runs are drawn with
    replacement within each task, from a fixed stream, so that the same scores give the same ends.

    The interval is about other runs of these tasks, not about other tasks. With fewer than about
    five runs a task it is too narrow, as any bootstrap is.

    Args:
        scores: shape (tasks, runs), two tasks or more; comparable across tasks, such as normalized.
        aggregate: a function of such a matrix; by default the interquartile mean.
        level: the interval's confidence, in (0, 1).
        resamples: how many bootstrap samples are drawn.
    """
    x = _to_scores(scores)
    tasks, runs = x.shape
    drawn = _draw(runs, (resamples, tasks))
    picked = np.take_along_axis(np.broadcast_to(x, (resamples, *x.shape)), drawn, axis=2)
    if aggregate is compute_interquartile_mean:
        cut = tasks * runs // 4
        ordered = np.sort(picked.reshape(resamples, -1), axis=1)
        values = ordered[:, cut : tasks * runs - cut].mean(axis=1)
    else:
        values = np.array([aggregate(sample) for sample in picked])
    low, high = _take_quantiles(values, level)
    return Aggregate(float(aggregate(x)), low, high, tasks, runs)


def estimate_improvement(
    a: ArrayLike,
    b: ArrayLike,
    *,
    higher_is_better: bool,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Aggregate:
    """The probability that a run of a is better than one of b, on a task drawn at random:

        mean over tasks of  (#{a_i better than b_j} + #{a_i = b_j}/2) / (n_a·n_b),

    Mann and Whitney's statistic of each task, with an interval from the stratified bootstrap. Here
    a diverged run may be nan: it loses against all others. For paired runs of one task see
    `fanin.analysis.statistics.count_wins`.

    Args:
        a, b: scores of shape (tasks, runs), two tasks or more.
        higher_is_better: whether a higher score is better.
        level: the interval's confidence, in (0, 1).
        resamples: how many bootstrap samples are drawn.
    """
    x, y = (_sign(scores, higher_is_better) for scores in (a, b))
    if len(x) != len(y):
        raise UsageError(f"Expected as many tasks of a as of b; received {len(x)} and {len(y)}.")
    better = (x[:, :, None] > y[:, None, :]) + (x[:, :, None] == y[:, None, :]) / 2
    tasks, runs, others = better.shape
    rows, columns = _draw(runs, (resamples, tasks)), _draw(others, (resamples, tasks), "other")
    # Drawn runs are counted: the mean over drawn pairs is a product with their numbers.
    weights = [_count_drawn(drawn, size) for drawn, size in ((rows, runs), (columns, others))]
    values = np.einsum("rti,tij,rtj->r", weights[0], better, weights[1], optimize=True)
    low, high = _take_quantiles(values / (tasks * runs * others), level)
    return Aggregate(float(better.mean()), low, high, tasks, runs)


def _sign(scores: ArrayLike, higher_is_better: bool) -> _Scores:
    x = _to_scores(scores, may_be_nan=True)
    return np.where(np.isnan(x), -np.inf, x if higher_is_better else -x)


def _count_drawn(drawn: NDArray[np.int64], size: int) -> _Scores:
    """How often each of `size` runs was drawn: shape (resamples, tasks, size)."""
    return np.stack([(drawn == i).sum(axis=2) for i in range(size)], axis=2).astype(np.float64)


def _draw(runs: int, shape: tuple[int, int], name: str = "runs") -> NDArray[np.int64]:
    generator = seeds.make_numpy_generator(0, "bootstrap", name, runs, *shape)
    return generator.integers(0, runs, (*shape, runs))


def _take_quantiles(values: _Scores, level: float) -> tuple[float, float]:
    tail = (1 - check_level(level)) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _to_scores(scores: ArrayLike, *, may_be_nan: bool = False) -> _Scores:
    x = to_matrix(scores, "tasks", "runs")
    if len(x) < 2:
        raise UsageError(
            "An aggregate needs two tasks or more. Of one task use the mean with its interval "
            "(fanin.analysis.statistics.estimate)."
        )
    if np.isnan(x).any() and not may_be_nan:
        raise UsageError(
            "A score is nan. A diverged run has no score: give it the worst that its task knows, "
            "such as the accuracy of guessing."
        )
    return x
