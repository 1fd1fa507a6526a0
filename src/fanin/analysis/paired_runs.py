"""PairedRuns: the runs of two compared values, paired by replicate, and the difference they show.

A pair is two runs of one replicate, in the same environment, with the same data. If a run diverged,
there is no mean: the difference is judged by wins and losses, and a diverged run has lost. A run
that failed or was killed may have been anything: means and intervals leave its pair out and say so,
and the test counts it as the largest difference, against what the other pairs say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanin.analysis import statistics
from fanin.analysis.section_runs import ABSENT, DIVERGED, UNKNOWN, SectionRuns
from fanin.analysis.statistics import MIN_FOR_INTERVAL

ALPHA = 0.05

Judgement = Literal["better", "worse", "equal", "equivalent", "cannot tell", "too few"]
"""What may be said of a value beside its reference. ``equal``: the same in each replicate."""


@dataclass(frozen=True)
class Difference:
    """A compared value minus its reference, over the replicates that both have."""

    value: str
    reference: str
    n: int
    """Pairs of runs that trained to their end or diverged. Runs that are missing, and those of
    different environments or data, make none.
    """
    wins: int
    """Pairs in which the value was better. A run that diverged has lost, two have tied."""
    losses: int
    ties: int
    diverged: int
    """Pairs in which one run or both diverged."""
    failed: int
    """Further pairs, in which a run failed, was killed or has no metric."""
    mean: float
    """Of value − reference, in the metric's unit; nan if a run diverged."""
    sd: float
    low: float
    """The mean's 95 % interval (Student's t), of this difference alone; nan below 5 pairs."""
    high: float
    p: float
    """Exact sign-flip test of the differences; of wins and losses if a run diverged, which is the
    sign test; nan below 10 pairs, failed ones included.
    """
    p_holm: float
    """The same, corrected for all comparisons of the section with the reference."""
    detectable: float
    """The smallest true difference that so many pairs see with probability 0.8 after correction;
    nan below 2 pairs or without a mean.
    """
    needed: int | None
    """If it cannot be told: the replicates that would see a true difference of this size with
    probability 0.8; None if unknown or more than 10,000.
    """
    judgement: Judgement

    @property
    def half_width(self) -> float:
        """Of the interval."""
        return (self.high - self.low) / 2

    @property
    def share(self) -> float:
        """The estimated probability that the value is better, ties as halves; nan without pairs."""
        return statistics.count_wins(self.wins, self.losses, self.ties).share

    def to_json(self) -> dict[str, Any]:
        """A JSON object; nan becomes None."""
        return {
            name: None if isinstance(item, float) and not math.isfinite(item) else item
            for name, item in vars(self).items()
        }


@dataclass(frozen=True)
class PairedRuns:
    """The paired runs of a value and its reference."""

    value: str
    reference: str
    higher_is_better: bool
    gains: NDArray[np.float64]
    """Value − reference, signed so that higher is better, per replicate: ±inf if one diverged, 0 if
    both did, nan where there is no pair.
    """
    unknown: NDArray[np.bool_]
    """Replicates in which a run failed."""
    diverged: int

    @property
    def has_mean(self) -> bool:
        return not self.diverged

    @cached_property
    def found(self) -> NDArray[np.float64]:
        return self.gains[~np.isnan(self.gains)]

    @cached_property
    def wins(self) -> statistics.WinCount:
        signs = np.sign(self.found)
        return statistics.count_wins(*(int((signs == sign).sum()) for sign in (1, -1, 0)))

    @cached_property
    def ahead(self) -> float:
        """Positive if the value does better: the mean gain, or wins − losses if a run diverged."""
        if self.has_mean and len(self.found):
            return float(self.found.mean())
        return float(self.wins.wins - self.wins.losses)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """What the tests flip, per replicate: the gain, or its sign if a run diverged. A failed
        pair has the largest of them, with the sign that contradicts the others.
        """
        scores = self.gains if self.has_mean else np.sign(self.gains)
        largest = float(np.nanmax(np.abs(scores))) if len(self.found) else 0.0
        return np.where(self.unknown, -math.copysign(largest, self.ahead), scores)

    @cached_property
    def p_value(self) -> float:
        """Of the sign-flip test; nan with too few pairs."""
        return statistics.compute_flip_p_value(self.scores[~np.isnan(self.scores)])

    def judge(self, p_holm: float, comparisons: int, margin: float | None = None) -> Difference:
        """The difference, judged by its corrected p.

        Args:
            p_holm: the corrected p value; nan if there are too few pairs.
            comparisons: for how many comparisons it is corrected.
            margin: of equivalence.
        """
        alpha = ALPHA / comparisons
        sign = 1 if self.higher_is_better else -1
        estimate = statistics.estimate(sign * self.found if self.has_mean else [])
        judgement = self._judge(p_holm, margin)
        needed = None
        n = len(self.found)
        if judgement in ("cannot tell", "too few") and n >= MIN_FOR_INTERVAL:
            needed = (
                statistics.count_needed_replicates(estimate.mean, estimate.sd, alpha=alpha)
                if self.has_mean
                else statistics.count_needed_wins(self.wins.share, alpha=alpha)
            )
        if needed is not None and judgement == "cannot tell":
            needed = max(needed, n + int(self.unknown.sum()) + 1)  # so many have not told it
        detectable = (
            statistics.find_detectable_difference(estimate.sd, n, alpha=alpha)
            if estimate.n >= 2
            else math.nan
        )
        return Difference(
            value=self.value,
            reference=self.reference,
            n=n,
            wins=self.wins.wins,
            losses=self.wins.losses,
            ties=self.wins.ties,
            diverged=self.diverged,
            failed=int(self.unknown.sum()),
            mean=estimate.mean,
            sd=estimate.sd,
            low=estimate.low,
            high=estimate.high,
            p=self.p_value,
            p_holm=p_holm,
            detectable=detectable,
            needed=needed,
            judgement=judgement,
        )

    def _judge(self, p_holm: float, margin: float | None) -> Judgement:
        if math.isnan(p_holm):
            return "too few"
        failed = bool(self.unknown.any())
        if self.wins.ties == len(self.found) and not self.diverged and not failed:
            return "equal"
        if p_holm <= ALPHA:
            return "better" if self.ahead > 0 else "worse"
        if margin is not None and self.has_mean and not failed:
            zeros = np.zeros(len(self.found))
            if statistics.judge_equivalence(self.found, zeros, margin, ALPHA).is_equivalent:
                return "equivalent"
        return "cannot tell"


def pair_runs(runs: SectionRuns, value: int, reference: int) -> PairedRuns:
    """The paired runs of two compared values, which are given by their columns."""
    both = runs.states[:, [value, reference]]
    there = (both != ABSENT).all(axis=1)
    unknown = there & (both == UNKNOWN).any(axis=1)
    paired = there & ~unknown & (runs.origins[:, value] == runs.origins[:, reference])
    lost = both == DIVERGED
    with np.errstate(invalid="ignore"):
        gains = runs.gains[:, value] - runs.gains[:, reference]
    gains = np.where(lost.all(axis=1), 0.0, gains)  # −inf − −inf
    return PairedRuns(
        runs.names[value],
        runs.names[reference],
        runs.higher_is_better,
        np.where(paired, gains, math.nan),
        unknown,
        int((lost.any(axis=1) & paired).sum()),
    )


def reverse_difference(item: Difference) -> Difference:
    """The same difference seen from the other value."""
    opposite: dict[Judgement, Judgement] = {"better": "worse", "worse": "better"}
    return replace(
        item,
        value=item.reference,
        reference=item.value,
        wins=item.losses,
        losses=item.wins,
        mean=-item.mean,
        low=-item.high,
        high=-item.low,
        judgement=opposite.get(item.judgement, item.judgement),
    )
