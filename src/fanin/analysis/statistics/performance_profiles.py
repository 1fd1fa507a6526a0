"""Performance profiles: the share of runs that reach a score, of problems within a cost ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanin.analysis.statistics.vectors import to_matrix, to_vector
from fanin.errors import UsageError


@dataclass(frozen=True)
class PerformanceProfile:
    """A share for each threshold."""

    thresholds: NDArray[np.float64]
    shares: NDArray[np.float64]
    """Of a score profile shape (thresholds,); of a ratio profile (thresholds, solvers)."""


def profile_scores(
    scores: ArrayLike, thresholds: ArrayLike, *, higher_is_better: bool
) -> PerformanceProfile:
    """The share of all runs of all tasks that reach each threshold:

        F(τ) = mean over tasks and runs of 1[score ≥ τ]   (≤ τ where lower is better).

    One that lies above another everywhere is better whatever the threshold (stochastic dominance).
    A diverged run is nan, and reaches none.

    Args:
        scores: shape (tasks, runs).
        thresholds: τ, in the scores' unit.
        higher_is_better: whether a higher score is better.

    Reference: R. Agarwal et al., NeurIPS 2021, section 4.2.
    """
    x, at = to_matrix(scores, "tasks", "runs"), to_vector(thresholds)
    reached = x[..., None] >= at if higher_is_better else x[..., None] <= at
    return PerformanceProfile(at, np.asarray(reached.mean(axis=(0, 1)), dtype=np.float64))


def profile_ratios(costs: ArrayLike, thresholds: ArrayLike) -> PerformanceProfile:
    """The share of problems that each solver solves within τ times the best solver's cost:

        ρ_s(τ) = (1/P) · #{p : t_ps ≤ τ · min over s of t_ps}.

    A cost of inf, or nan, is a problem that was not solved; it counts among the P.

    Args:
        costs: positive, such as epochs to a target; shape (problems, solvers).
        thresholds: τ ≥ 1.

    Reference: E. D. Dolan and J. J. Moré, Benchmarking Optimization Software with Performance
    Profiles, Mathematical Programming 91, 2002.
    """
    t, at = to_matrix(costs, "problems", "solvers"), to_vector(thresholds)
    t = np.where(np.isnan(t), np.inf, t)
    if (t <= 0).any():
        raise UsageError("A cost is a positive number, or inf if a problem was not solved.")
    best = t.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isinf(t), np.inf, t / best)
    within = ratios[None] <= at[:, None, None]
    return PerformanceProfile(at, np.asarray(within.mean(axis=1), dtype=np.float64))
