"""Effects: what a paper says, as one number per replicate and where its interval must lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiment.records import Records
from fanin.analysis.statistics import estimate, estimate_median


@dataclass(frozen=True)
class Effect:
    """A sentence that is shown if the 95 % interval of a number over replicates lies in a range.

    The interval is Student's t of the mean, or that of the median by order statistics, which needs
    six replicates and takes infinite numbers. Differences are taken within a replicate, whose
    conditions share batches and, where shapes agree, the standard-normal draw of the weights.
    """

    says: str
    """The sentence."""
    number: str
    """What the number is, with its unit."""
    measure: Callable[[Records], Sequence[float]]
    """The number of each replicate."""
    above: float = -math.inf
    below: float = math.inf
    of: Literal["mean", "median"] = "mean"
    counts: bool = True
    """Whether the verdict depends on it; other effects are told beside it."""

    @property
    def criterion(self) -> str:
        """Where the interval must lie, in words."""
        ends = [
            f"{word} {end:g}"
            for word, end in (("above", self.above), ("below", self.below))
            if math.isfinite(end)
        ]
        return f"{self.number}: 95 % interval of the {self.of} {' and '.join(ends)}"

    def contains(self, low: float, high: float) -> bool:
        """Whether low to high lies in the range; an end that is not there holds nothing back."""
        if math.isnan(low) or math.isnan(high):
            return False
        return (low > self.above or self.above == -math.inf) and (
            high < self.below or self.below == math.inf
        )


@dataclass(frozen=True)
class Decision:
    """What became of an effect. The interval's ends are nan with too few replicates."""

    effect: Effect
    n: int
    value: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval lies in the effect's range."""
        return self.effect.contains(self.low, self.high)

    @property
    def points_there(self) -> bool:
        """Whether the mean or median does; all that a shortened run can say."""
        return self.effect.contains(self.value, self.value)

    @property
    def verdict(self) -> str:
        return "shown" if self.is_shown else "not shown here"


def decide(effect: Effect, records: Records) -> Decision:
    """Mean or median of an effect's numbers, and its interval."""
    numbers = np.asarray(list(effect.measure(records)), dtype=np.float64)
    if not len(numbers) or np.isnan(numbers).any():
        raise ValueError(f"{effect.says!r}: expected a number per replicate, got {numbers}.")
    if effect.of == "median":
        found = estimate_median(numbers)
        return Decision(effect, found.n, float(np.median(numbers)), found.low, found.high)
    if not np.isfinite(numbers).all():  # a diverged run has no mean
        return Decision(effect, len(numbers), float(numbers.max()), math.nan, math.nan)
    mean = estimate(numbers)
    return Decision(effect, mean.n, mean.mean, mean.low, mean.high)


def subtract(
    records: Records, value: str, first: dict[str, str | float], second: dict[str, str | float]
) -> list[float]:
    """first − second within each replicate that has both."""
    a, b = records.read(value, **first), records.read(value, **second)
    return [a[replicate] - b[replicate] for replicate in a if replicate in b]


def read_numbers(records: Records, value: str, **factors: str | float | int) -> list[float]:
    """The value of one condition in each replicate."""
    return list(records.read(value, **factors).values())


def compare_spreads(
    records: Records, value: str, first: dict[str, str | float], second: dict[str, str | float]
) -> list[float]:
    """|a − median a| − |b − median b| of each replicate: below 0 where a varies less than b.

    Its mean is what Brown and Forsythe's test of equal variances compares (Journal of the American
    Statistical Association 69, 1974); here it is paired.
    """
    a, b = records.read(value, **first), records.read(value, **second)
    shared = [replicate for replicate in a if replicate in b]
    x, y = (np.array([values[replicate] for replicate in shared]) for values in (a, b))
    return list(np.abs(x - np.median(x)) - np.abs(y - np.median(y)))


def compare_at_best_rates(
    records: Records,
    value: str,
    first: dict[str, str | float],
    second: dict[str, str | float],
    *,
    higher: bool,
) -> list[float]:
    """first − second, each at the learning rate that is best for it.

    The rate of a replicate is the one with the best mean over the other replicates, so no run takes
    part in the choice of its own rate. A diverged run counts as inf, or −inf where higher is
    better.
    """
    a, b = (read_at_best_rate(records, value, higher=higher, **arm) for arm in (first, second))
    return [a[replicate] - b[replicate] for replicate in a if replicate in b]


def read_at_best_rate(
    records: Records, value: str, *, higher: bool, **factors: str | float | int
) -> dict[int, float]:
    """Replicate → value at the learning rate that is best for the other replicates."""
    rates = records.pick(**factors).list_values("learning_rate")
    curves = [records.read(value, learning_rate=rate, **factors) for rate in rates]
    sign = 1 if higher else -1
    replicates = [r for r in curves[0] if all(r in curve for curve in curves)]
    scores = sign * np.array([[curve[r] for r in replicates] for curve in curves])
    chosen = {}
    for at, replicate in enumerate(replicates):
        others = np.delete(scores, at, axis=1) if len(replicates) > 1 else scores
        best = int(np.argmax(others.mean(axis=1)))
        chosen[replicate] = float(curves[best][replicate])
    return chosen
