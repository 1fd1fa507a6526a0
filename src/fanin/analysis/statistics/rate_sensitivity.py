"""Learning-rate sensitivity: the curve over rates, its best, and the width of the good region."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fanin.analysis.statistics.intervals import compute_median
from fanin.analysis.statistics.vectors import to_matrix, to_vector
from fanin.errors import UsageError


@dataclass(frozen=True)
class RateSensitivity:
    """How a metric depends on the learning rate."""

    rates: tuple[float, ...]
    """Ascending."""
    centres: tuple[float, ...]
    """The metric at each rate: the mean of its runs; if one diverged the median, with diverged runs
    as the worst values; nan if the median falls on one.
    """
    diverged: tuple[float, ...]
    """The share of each rate's runs that diverged."""
    best_rate: float
    best: float
    """The centre there."""
    low: float
    """Between `low` and `high` the centre stays within the tolerance of the best."""
    high: float
    is_open_below: bool
    """Whether the region reaches the smallest rate that was tried: it may be wider."""
    is_open_above: bool

    @property
    def decades(self) -> float:
        """The width of the good region, log₁₀(high/low); a lower bound if it is open."""
        return math.log10(self.high / self.low)


def describe_sensitivity(
    rates: ArrayLike, values: ArrayLike, tolerance: float, *, higher_is_better: bool
) -> RateSensitivity:
    """The curve over rates, its best, and the region around it that is as good within a tolerance.

    Between two rates the centre is interpolated linearly in log₁₀(rate), and the region ends where
    it crosses best ∓ tolerance; towards a rate without a centre it ends at the last one that has
    one. Only the region that holds the best rate counts.

    Args:
        rates: positive and different, shape (k,).
        values: the metric, shape (k, runs); nan for a diverged run.
        tolerance: what may be lost, in the metric's unit; positive.
        higher_is_better: whether a higher value is better.
    """
    r, x = to_vector(rates), to_matrix(values, "rates", "runs")
    if len(r) != len(x) or (r <= 0).any() or len(np.unique(r)) < len(r):
        raise UsageError(
            f"Expected a row of values for each of the rates, which are positive and different; "
            f"received {len(r)} rates and {len(x)} rows."
        )
    if not tolerance > 0:
        raise UsageError(f"A tolerance is a positive number; received {tolerance}.")
    order = np.argsort(r)
    r, x = r[order], x[order]
    centres = np.array([_find_centre(row, higher_is_better) for row in x])
    if np.isnan(centres).all():
        raise UsageError("No rate has a centre: at each of them half of the runs diverged.")
    loss = (1 if not higher_is_better else -1) * centres
    best = int(np.nanargmin(loss))
    excess = np.where(np.isnan(loss), math.inf, loss - loss[best])
    low, open_below = _walk(np.log10(r), excess, best, tolerance, -1)
    high, open_above = _walk(np.log10(r), excess, best, tolerance, 1)
    return RateSensitivity(
        rates=tuple(map(float, r)),
        centres=tuple(map(float, centres)),
        diverged=tuple(map(float, np.isnan(x).mean(axis=1))),
        best_rate=float(r[best]),
        best=float(centres[best]),
        low=10**low,
        high=10**high,
        is_open_below=open_below,
        is_open_above=open_above,
    )


def _find_centre(row: np.ndarray, higher_is_better: bool) -> float:
    ok = row[~np.isnan(row)]
    if len(ok) == len(row):
        return float(ok.mean())
    return compute_median(ok, len(row) - len(ok), higher_is_better=higher_is_better)


def _walk(
    at: np.ndarray, excess: np.ndarray, start: int, tolerance: float, step: int
) -> tuple[float, bool]:
    """Where the region ends in one direction, and whether it reaches the last rate."""
    here = start
    while 0 <= here + step < len(at):
        after = here + step
        if excess[after] > tolerance:
            if math.isinf(excess[after]):
                return float(at[here]), False
            share = (tolerance - excess[here]) / (excess[after] - excess[here])
            return float(at[here] + share * (at[after] - at[here])), False
        here = after
    return float(at[here]), True
