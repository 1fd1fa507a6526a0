"""SectionComparison: what a section's replicates say about each of its compared values.

Every value is compared with one reference, declared before the runs: mean difference of the paired
replicates with Student's t interval, exact sign-flip test, Holm's correction over the section. Then
the value with the best mean is compared with all others, whichever it is. For that the signs of
whole replicates are flipped for all pairs of values at once
(`fanin.analysis.statistics.adjust_jointly`), and it happens only if that value is the reference or
beats it: so if nothing differs, anything is claimed in at most 5 % of studies.

A pair is two runs of one replicate, in the same environment, with the same data. If a run diverged,
there is no mean: the difference is judged by wins and losses, and a diverged run has lost.
A run that failed or was killed may have been anything: means and intervals leave its pair out and
say so, and the test counts it as the largest difference, against what the other pairs say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanin.analysis import statistics
from fanin.analysis.reference import choose_reference
from fanin.analysis.section_runs import (
    ABSENT,
    DIVERGED,
    UNKNOWN,
    SectionRuns,
)
from fanin.analysis.statistics import MIN_FOR_INTERVAL, MIN_FOR_TEST

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
class SectionComparison:
    """The compared values of one section beside the reference, and which is the best."""

    runs: SectionRuns
    reference: str
    differences: tuple[Difference, ...]
    """Each other value against the reference, in the plan's order."""
    leader: str
    """The value with the best mean. Whether it is told apart from others, `beaten` says."""
    beaten: tuple[Difference, ...]
    """Each other value minus the leader; p_holm is corrected for all pairs of the section."""

    @property
    def section(self) -> tuple[Any, ...]:
        """Values of `Design.section`."""
        return self.runs.section

    @property
    def metric(self) -> str:
        return self.runs.metric

    @property
    def names(self) -> tuple[str, ...]:
        return self.runs.names

    @property
    def best(self) -> str | None:
        """The leader if every other value is worse and all of its runs are there; else None."""
        whole = self.runs.have_all(self.names.index(self.leader))
        worse = all(item.judgement == "worse" for item in self.beaten)
        return self.leader if whole and worse else None

    @property
    def leads(self) -> bool:
        """Whether the leader is the reference or better than it. Only then is anything claimed of
        how others stand to the leader.
        """
        return (
            self.leader == self.reference or self.get_difference(self.leader).judgement == "better"
        )

    @property
    def pairs(self) -> int:
        """The fewest pairs of two values, those with a failed run included."""
        return min(item.n + item.failed for item in (*self.differences, *self.beaten))

    @property
    def too_few(self) -> bool:
        """Whether a pair of values has too few replicates to test."""
        return self.pairs < MIN_FOR_TEST

    @cached_property
    def detectable(self) -> float:
        """The difference from the reference that a typical value could have shown: from the root
        mean square of the standard deviations; nan without any.
        """
        items = [item for item in self.differences if math.isfinite(item.sd) and item.n >= 2]
        if not items:
            return math.nan
        pooled = statistics.pool_deviations([item.sd for item in items])
        fewest = min(item.n for item in items)
        return statistics.find_detectable_difference(
            pooled, fewest, alpha=ALPHA / len(self.differences)
        )

    def get_difference(self, value: str) -> Difference:
        """The difference of a value from the reference."""
        return next(item for item in self.differences if item.value == value)


def compare_section(
    runs: SectionRuns, reference: str | None = None, margin: float | None = None
) -> SectionComparison:
    """Compare the values of a section.

    Args:
        runs: its runs.
        reference: the value to compare with; by default, or if the section has none of that name,
            what `choose_reference` says.
        margin: the smallest difference that matters, in the metric's unit: a value whose difference
            is shown to be smaller is called equivalent.
    """
    chosen = reference if reference in runs.names else choose_reference(runs.names)
    at = runs.names.index(chosen)
    others = [i for i in range(len(runs.names)) if i != at]
    pairs = [pair_runs(runs, i, at) for i in others]
    corrected = statistics.correct_holm([pair.p_value for pair in pairs])
    differences = tuple(
        pair.judge(float(p), len(pairs), margin) for pair, p in zip(pairs, corrected, strict=True)
    )
    leader = _find_leader(runs)
    beaten = _compare_leader(runs, leader, at, differences)
    return SectionComparison(runs, chosen, differences, runs.names[leader], beaten)


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


def _find_leader(runs: SectionRuns) -> int:
    """The value with the best mean over the replicates that are complete, else over its own; values
    with a diverged or failed run come after those without, by mean rank.
    """
    gains = runs.gains[runs.complete] if runs.complete.any() else runs.gains
    troubled = np.asarray(np.isin(runs.states, (DIVERGED, UNKNOWN)).any(axis=0))
    means = np.array(
        [
            -math.inf if np.isnan(column).all() else float(np.nanmean(column))
            for column in np.where(np.isinf(gains), math.nan, gains).T
        ]
    )
    ranks = statistics.rank_rows(gains, higher_is_better=True).mean(axis=0)
    return min(
        range(len(runs.names)),
        key=lambda i: (troubled[i], ranks[i] if troubled[i] else -means[i]),
    )


def _compare_leader(
    runs: SectionRuns, leader: int, reference: int, differences: Sequence[Difference]
) -> tuple[Difference, ...]:
    """The other values minus the leader. What is known from the comparison with the reference is
    taken from there; other pairs are judged only if the leader is the reference or beats it.
    """
    by_value = {item.value: item for item in differences}
    if leader == reference:
        return tuple(differences)
    numbers = list(range(len(runs.names)))
    corrected = _adjust_all_pairs(runs, numbers)
    leads = by_value[runs.names[leader]].judgement == "better"
    found = []
    for other in numbers:
        if other == leader:
            continue
        if other == reference:
            found.append(_reverse(by_value[runs.names[leader]]))
            continue
        p = corrected[min(other, leader), max(other, leader)]
        comparisons = len(numbers) * (len(numbers) - 1) // 2
        item = pair_runs(runs, other, leader).judge(p, comparisons)
        if not leads and item.judgement in ("better", "worse"):
            item = replace(item, judgement="cannot tell")
        found.append(item)
    return tuple(found)


def _adjust_all_pairs(runs: SectionRuns, numbers: Sequence[int]) -> Mapping[tuple[int, int], float]:
    pairs = list(itertools.combinations(numbers, 2))
    scores = np.column_stack([pair_runs(runs, a, b).scores for a, b in pairs])
    return dict(zip(pairs, map(float, statistics.adjust_jointly(scores)), strict=True))


def _reverse(item: Difference) -> Difference:
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
