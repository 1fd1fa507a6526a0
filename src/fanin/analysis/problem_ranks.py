"""ProblemRanks: how the compared values rank over problems.

A section of a table is a problem, unless it differs from another one in a setting only: a number of
the training, such as the learning rate, or of the start, such as a gain. Sections of one model and
one data set at eight learning rates are no eight independent problems. They are one, in which each
value has its mean rank over the settings: all settings count alike, however large the differences
at them are, and none is chosen after the fact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanin.analysis import statistics
from fanin.analysis.section_runs import DIVERGED, SectionRuns
from fanin.analysis.statistics import RankComparison

MIN_PROBLEMS = 3
"""Over fewer problems an average rank says no more than the sections themselves."""

_SETTINGS = ("learning_rate", "batch_size", "max_epochs", "clip_norm", "label_smoothing")
_SETTINGS_OF = ("optimizer.", "schedule.", "initializer.")
"""Options that are axes of a study."""


@dataclass(frozen=True)
class ProblemRanks:
    """The average ranks of compared values over the problems that hold all of them."""

    names: tuple[str, ...]
    problems: int
    """How many problems were ranked: the blocks of the tests."""
    sections: int
    """How many sections they are made of."""
    settings: tuple[str, ...]
    """The factors in which sections of one problem differ; none if each section is a problem."""
    others: int
    """How many sections were not ranked: they hold other values, or no replicate is complete."""
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


Problem = tuple[Any, ...]


def rank_over_problems(
    sections: Sequence[SectionRuns], factors: Sequence[str]
) -> ProblemRanks | None:
    """The ranks over the problems that compare the same values; None with fewer than three.

    If sections compare different sets of values, those of the set that most problems hold count.

    Args:
        sections: the runs of each section.
        factors: the names of `SectionRuns.section`.
    """
    settings = [at for at, name in enumerate(factors) if _is_setting(name)]
    groups: dict[frozenset[str], dict[Problem, list[SectionRuns]]] = {}
    for runs in sections:
        if runs.complete.any():
            key = tuple(v for at, v in enumerate(runs.section) if at not in settings)
            groups.setdefault(frozenset(runs.names), defaultdict(list))[key].append(runs)
    if not groups:
        return None
    chosen = max(groups.values(), key=lambda problems: (len(problems), _count(problems)))
    if len(chosen) < MIN_PROBLEMS:
        return None
    names = next(iter(chosen.values()))[0].names
    scores = np.array([_score_problem(problem, names) for problem in chosen.values()])
    varying = tuple(
        factors[at]
        for at in settings
        if any(len({runs.section[at] for runs in problem}) > 1 for problem in chosen.values())
    )
    return ProblemRanks(
        names,
        len(chosen),
        _count(chosen),
        varying,
        len(sections) - _count(chosen),
        statistics.compare_ranks(scores, higher_is_better=False),
    )


def _is_setting(name: str) -> bool:
    return name in _SETTINGS or name.startswith(_SETTINGS_OF)


def _count(problems: dict[Problem, list[SectionRuns]]) -> int:
    return sum(map(len, problems.values()))


def _score_problem(problem: Sequence[SectionRuns], names: Sequence[str]) -> NDArray[np.float64]:
    """A score of each value in one problem, lower is better: its mean rank over the sections."""
    scores = np.array([_score(runs, names) for runs in problem])
    ranks: NDArray[np.float64] = statistics.rank_rows(scores, higher_is_better=False).mean(axis=0)
    return ranks


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
