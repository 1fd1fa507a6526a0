"""Contrasts: one number that a claim says something about, with its simultaneous interval.

A contrast measures an effect at a confidence level, and the decision rule
(`fanin.claims.decision_rule`) makes a verdict of it. Its kinds are `MeanContrast` here,
`SpreadContrast` and `InitializerSpreadContrast` (`fanin.claims.spread_contrasts`), and
`ShareContrast` (`fanin.claims.share_contrast`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fanin.analysis import statistics
from fanin.claims.arms import Arm, Readings
from fanin.claims.claim_inputs import ClaimInputs
from fanin.claims.decision_rule import Form, Verdict, count_deciding_replicates, decide

Statistic = Literal["mean", "median", "ratio", "share", "fact"]


@dataclass(frozen=True)
class Effect:
    """An effect over n replicates and its interval. Ratios are logarithms to the base e."""

    statistic: Statistic
    n: int
    value: float
    low: float
    high: float
    sd: float = math.nan
    """Of the replicates' effects; nan for a median or a share."""
    diverged: int = 0
    """Replicates in which a run diverged, or did not reach the target."""
    failed: int = 0
    """Replicates whose effect cannot be told: a run failed, or infinities do not add up."""


NOTHING = Effect("mean", 0, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class ContrastResult:
    """A contrast, its effect and the verdict on it."""

    contrast: Contrast
    effect: Effect
    verdict: Verdict
    needed: int | None = None
    """Replicates that would decide, if the effect is the true one; None if that is not known."""


class Contrast(Protocol):
    """One number that a claim says something about."""

    @property
    def label(self) -> str:
        """What is compared, in words."""

    @property
    def smallest(self) -> float:
        """The smallest effect of interest, δ; of a ratio its logarithm."""

    @property
    def form(self) -> Form:
        """What is claimed of the effect."""

    @property
    def unit(self) -> str:
        """What the effect counts: "accuracy", "epochs", "ratio", …"""

    def list_arms(self) -> tuple[Arm, ...]:
        """The conditions that it reads."""

    def judge(self, inputs: ClaimInputs, alpha: float) -> ContrastResult:
        """Measure and decide, with an interval of confidence 1 − alpha."""


@dataclass(frozen=True)
class MeanContrast:
    """The mean over replicates of θ_r = Σ weight · reading − offset, paired by replicate.

    Two terms with weights 1 and −1 are a paired difference, four with 1, −1, −1, 1 an interaction
    (a difference of differences), and one term compares with a number. If a run diverged, or did
    not reach its target, the mean does not exist: then θ is the median, whose interval lies between
    two of the θ_r (`fanin.analysis.statistics.estimate_median`). Two runs that both diverged, or
    both missed the target, are a tie. A failed run is taken once as infinitely good and once as
    infinitely bad; if the verdicts differ, nothing is decided.
    """

    label: str
    terms: tuple[tuple[float, Arm], ...]
    smallest: float
    form: Form = "more"
    unit: str = "accuracy"
    offset: float = 0.0
    is_robust: bool = False
    """Whether θ is the median in any case."""

    def list_arms(self) -> tuple[Arm, ...]:
        return tuple(arm for _, arm in self.terms)

    def judge(self, inputs: ClaimInputs, alpha: float) -> ContrastResult:
        readings = [(weight, arm.read(inputs)) for weight, arm in self.terms]
        effects = combine_readings(readings, self.offset)
        known = effects[~np.isnan(effects)]
        failed = len(effects) - len(known)
        if len(effects) == 0:
            return ContrastResult(self, NOTHING, "no results yet")
        effect = self._summarise(known, alpha, failed)
        fillings = (math.inf, -math.inf) if failed else (math.nan,)
        verdicts = {self._decide(np.where(np.isnan(effects), x, effects), alpha) for x in fillings}
        verdict: Verdict = verdicts.pop() if len(verdicts) == 1 else "inconclusive"
        needed = None
        if verdict == "inconclusive":
            needed = count_deciding_replicates(
                self.form, effect.value, effect.sd, self.smallest, alpha
            )
        return ContrastResult(self, effect, verdict, needed)

    def _decide(self, effects: np.ndarray, alpha: float) -> Verdict:
        effect = self._summarise(effects, alpha)
        if effect.n < statistics.MIN_FOR_TEST:
            return "inconclusive"
        return decide(self.form, effect.value, effect.low, effect.high, self.smallest)

    def _summarise(self, effects: np.ndarray, alpha: float, failed: int = 0) -> Effect:
        lost = int(np.isinf(effects).sum())
        if lost == 0 and not self.is_robust:
            found = statistics.estimate(effects, 1 - alpha)
            return Effect("mean", found.n, found.mean, found.low, found.high, found.sd, 0, failed)
        median = statistics.estimate_median(effects, level=1 - alpha)
        value = float(np.median(effects)) if len(effects) else math.nan
        return Effect("median", median.n, value, median.low, median.high, math.nan, lost, failed)


def combine_readings(readings: Sequence[tuple[float, Readings]], offset: float = 0.0) -> np.ndarray:
    """θ_r of each replicate that all arms have, from one environment and the same data; nan where a
    run failed.
    """
    shared = set.intersection(*(set(found) for _, found in readings))
    effects = []
    for replicate in sorted(shared):
        row = [found[replicate] for _, found in readings]
        if len({reading.origin for reading in row}) > 1:
            continue
        values = np.array([reading.value for reading in row])
        weights = np.array([weight for weight, _ in readings])
        effects.append(_add(weights, values) - offset)
    return np.array(effects, dtype=np.float64)


def _add(weights: np.ndarray, values: np.ndarray) -> float:
    """Σ weight · value; 0 if two runs were both lost, nan if what is infinite does not add up."""
    lost = np.isinf(values)
    if lost.all() and len(values) == 2 and weights.sum() == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        return float(np.sum(weights * values))


def subtract(
    label: str,
    better: Arm,
    worse: Arm,
    smallest: float,
    form: Form = "more",
    unit: str = "accuracy",
) -> MeanContrast:
    """The paired difference of two conditions."""
    return MeanContrast(label, ((1.0, better), (-1.0, worse)), smallest, form, unit)


def interact(
    label: str,
    first: tuple[Arm, Arm],
    second: tuple[Arm, Arm],
    smallest: float,
    unit: str = "accuracy",
) -> MeanContrast:
    """(a − b of the first pair) − (a − b of the second): does a difference change?"""
    (a, b), (c, d) = first, second
    terms = ((1.0, a), (-1.0, b), (-1.0, c), (1.0, d))
    return MeanContrast(label, terms, smallest, "differs", unit)


def average(arms: Iterable[Arm], weight: float = 1.0) -> tuple[tuple[float, Arm], ...]:
    """Terms of the mean of several conditions, times a weight."""
    listed = tuple(arms)
    return tuple((weight / len(listed), arm) for arm in listed)
