"""Ranks: of runs within a replicate, and of compared values over problems (Friedman, Nemenyi)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from fanin.analysis.statistics.vectors import to_matrix, to_vector

MIN_PROBLEMS = 10
"""Fewest problems for a test over them; with fewer, ranks describe these problems only."""


@dataclass(frozen=True)
class RankComparison:
    """Average ranks of k compared values over N problems, and whether they differ."""

    ranks: tuple[float, ...]
    """The average rank of each value; 1 is the best."""
    problems: int
    p_value: float
    """Friedman's test that all values rank alike; nan below `MIN_PROBLEMS` problems."""
    critical_difference: float
    """Average ranks that differ by more than this differ by Nemenyi's test at 5 %, which compares
    all pairs; nan below `MIN_PROBLEMS` problems.
    """

    @property
    def is_descriptive(self) -> bool:
        """Whether there are too few problems to test: nothing is claimed about others."""
        return self.problems < MIN_PROBLEMS

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The values that cannot be told apart, as indices, best first: each a largest set whose
        ranks lie within one critical difference, as a critical-difference diagram joins them.
        """
        order = sorted(range(len(self.ranks)), key=self.ranks.__getitem__)
        found: list[tuple[int, ...]] = []
        for first in range(len(order)):
            start = self.ranks[order[first]]
            group = tuple(
                i for i in order[first:] if self.ranks[i] - start <= self.critical_difference
            )
            if not found or not set(group) <= set(found[-1]):
                found.append(group)
        return tuple(group for group in found if len(group) > 1)


def rank(values: ArrayLike, *, higher_is_better: bool) -> NDArray[np.float64]:
    """Ranks from 1 (best). Ties share their mean rank; diverged runs (nan) share the last one.

    With x signed so that lower is better: rank_i = #{x_j < x_i} + (#{x_j = x_i} + 1) / 2.
    """
    x = to_vector(values)
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


def compare_ranks(
    scores: ArrayLike, *, higher_is_better: bool, alpha: float = 0.05
) -> RankComparison:
    """Average ranks over problems, Friedman's test and Nemenyi's critical difference.

        χ² = (12/(N·k·(k + 1))·Σ R_j² − 3·N·(k + 1)) / (1 − Σ(t³ − t)/(N·k·(k² − 1)))

    with rank sums R_j and ties of t values within a problem, χ² with k − 1 degrees of freedom;
    CD = q_{α, k, ∞}/√2 · √(k·(k + 1)/(6·N)), with q the studentized range.

    A problem, such as a model on a data set, is one block: its score is a mean over replicates.
    Problems, not replicates, are what the test generalizes over.

    Args:
        scores: shape (N, k); nan, a value that diverged, ranks last in its problem.
        higher_is_better: whether a higher score is better.
        alpha: Nemenyi's level over all pairs.

    Reference: M. Friedman, Journal of the American Statistical Association 32, 1937; P. Nemenyi,
    thesis, Princeton 1963; J. Demšar, Journal of Machine Learning Research 7, 2006.
    """
    x = to_matrix(scores, "problems", "compared values")
    n, k = x.shape
    ranks = rank_rows(x, higher_is_better=higher_is_better)
    means = tuple(map(float, ranks.mean(axis=0)))
    if n < MIN_PROBLEMS or k < 2:
        return RankComparison(means, n, math.nan, math.nan)
    difference = _find_critical_value(alpha, k) * math.sqrt(k * (k + 1) / (6 * n))
    return RankComparison(means, n, _compute_friedman_p_value(ranks), difference)


@lru_cache(maxsize=64)
def _find_critical_value(alpha: float, k: int) -> float:
    """q_{α, k, ∞}/√2."""
    from scipy import stats  # takes two seconds

    return float(stats.studentized_range.ppf(1 - alpha, k, math.inf)) / math.sqrt(2)


def _compute_friedman_p_value(ranks: NDArray[np.float64]) -> float:
    n, k = ranks.shape
    ties = sum(
        float((sizes**3 - sizes).sum())
        for row in ranks
        for sizes in [np.unique(row, return_counts=True)[1]]
    )
    correction = 1 - ties / (n * k * (k * k - 1))
    if correction <= 0:
        return 1.0  # all values tie in all problems
    sums = ranks.sum(axis=0)
    statistic = 12 / (n * k * (k + 1)) * float(np.square(sums).sum()) - 3 * n * (k + 1)
    return float(special.chdtrc(k - 1, statistic / correction))
