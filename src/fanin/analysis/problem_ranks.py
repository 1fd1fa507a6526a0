"""ProblemRanks: how the compared values rank over all sections, which are the problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.analysis import statistics
from fanin.analysis.section_runs import DIVERGED, SectionRuns
from fanin.analysis.statistics import RankComparison

MIN_SECTIONS = 3
"""Over fewer sections an average rank says no more than the sections themselves."""


@dataclass(frozen=True)
class ProblemRanks:
    """The average ranks of compared values over the sections that hold all of them."""

    names: tuple[str, ...]
    sections: int
    """How many sections were ranked."""
    others: int
    """How many were not: they hold other values, or no replicate is complete."""
    comparison: RankComparison

    @property
    def order(self) -> list[int]:
        """The values' indices, best rank first."""
        return sorted(range(len(self.names)), key=self.comparison.ranks.__getitem__)

    @property
    def tied(self) -> tuple[str, ...]:
        """The values whose rank is within one critical difference of the best, without the best;
        empty if there are too few problems to test.
        """
        ranks = self.comparison.ranks
        first, *rest = self.order
        limit = ranks[first] + self.comparison.critical_difference
        return tuple(self.names[i] for i in rest if ranks[i] <= limit)


def rank_over_sections(sections: Sequence[SectionRuns]) -> ProblemRanks | None:
    """The ranks over the sections that compare the same values; None with fewer than three.

    If sections compare different sets of values, those of the most frequent set count.
    """
    groups: defaultdict[frozenset[str], list[SectionRuns]] = defaultdict(list)
    for runs in sections:
        if runs.complete.any():
            groups[frozenset(runs.names)].append(runs)
    if not groups:
        return None
    chosen = max(groups.values(), key=len)
    if len(chosen) < MIN_SECTIONS:
        return None
    names = chosen[0].names
    scores = np.array([_score(runs, names) for runs in chosen])
    comparison = statistics.compare_ranks(scores, higher_is_better=False)
    return ProblemRanks(names, len(chosen), len(sections) - len(chosen), comparison)


def _score(runs: SectionRuns, names: Sequence[str]) -> list[float]:
    """A score of each value in one section, lower is better, over its complete replicates: the mean
    with its sign turned; the mean rank if a run diverged, with diverged runs last.
    """
    gains = runs.gains[runs.complete]
    if (runs.states[runs.complete] == DIVERGED).any():
        scores = statistics.rank_rows(gains, higher_is_better=True).mean(axis=0)
    else:
        scores = -gains.mean(axis=0)
    return [float(scores[runs.names.index(name)]) for name in names]
