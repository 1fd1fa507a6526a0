"""Conditions: the replicates behind one point of a figure, and the number that represents them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from fanin.analysis import statistics


@dataclass(frozen=True)
class Condition:
    """A metric over the replicates of one condition."""

    values: tuple[float, ...]
    """One per replicate that finished training."""
    diverged: int
    planned: int
    centre: float
    """The mean. If a replicate diverged: the median, with diverged replicates as the worst values;
    nan if the median falls on one of those.
    """
    half_width: float
    """Of the mean's 95 % interval; nan below 5 replicates, or if one diverged."""

    @property
    def diverged_share(self) -> float:
        """The share of the planned replicates that diverged."""
        return self.diverged / self.planned

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the mean's 95 % interval; twice `centre` if there is no interval."""
        half = self.half_width if math.isfinite(self.half_width) else 0.0
        return self.centre - half, self.centre + half

    @property
    def is_mean(self) -> bool:
        """Whether `centre` is a mean."""
        return not self.diverged and bool(self.values)


def estimate_condition(rows: pd.DataFrame, metric: str, *, higher_is_better: bool) -> Condition:
    """The condition whose replicates are these rows of a frame of cells."""
    ok = rows[rows["outcome"] == "ok"][metric].dropna()
    values = tuple(float(value) for value in ok)
    diverged = int((rows["outcome"] == "diverged").sum())
    if diverged:
        median = statistics.compute_median(values, diverged, higher_is_better=higher_is_better)
        return Condition(values, diverged, len(rows), median, math.nan)
    estimate = statistics.estimate(values)
    return Condition(values, 0, len(rows), estimate.mean, estimate.half_width)
