"""SectionComparison: what a section's replicates say about each of its compared values.

Every value is compared with one reference, declared before the runs: mean difference of the paired
replicates with Student's t interval, exact sign-flip test, Holm's correction over the section. Then
the value with the best mean is compared with all others, whichever it is. For that the signs of
whole replicates are flipped for all pairs of values at once
(`fanin.analysis.statistics.adjust_jointly`), and it happens only if that value is the reference or
beats it: so if nothing differs, anything is claimed in at most 5 % of studies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fanin.analysis import statistics
from fanin.analysis.paired_runs import ALPHA as ALPHA
from fanin.analysis.paired_runs import Difference as Difference
from fanin.analysis.paired_runs import pair_runs, reverse_difference
from fanin.analysis.reference import choose_reference
from fanin.analysis.section_runs import DIVERGED, UNKNOWN, SectionRuns
from fanin.analysis.statistics import MIN_FOR_TEST


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
    def most_pairs(self) -> int:
        """The most pairs of a value and the reference, those with a failed run included."""
        return max(item.n + item.failed for item in self.differences)

    @property
    def too_few(self) -> bool:
        """Whether every value has too few pairs with the reference to test."""
        return self.most_pairs < MIN_FOR_TEST

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
            found.append(reverse_difference(by_value[runs.names[leader]]))
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
