"""A newcomer beside a study's baselines: its difference from each of them, in each section.

Runs of one replicate, in one environment and on the same data, are pairs, and are compared as in
`fanin.analysis.section_comparisons`. If the baselines were trained in another environment, no pairs
are formed: newcomer and baseline are then compared as two independent groups, by Welch's interval
and test (`fanin.analysis.statistics.compare_groups`). That ignores what the runs share, so it
claims less, and it takes the environments for equally good, which nobody has shown. On other data
nothing is compared.

Holm's correction is over all baselines of a section.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fanin.analysis import statistics
from fanin.analysis.paired_runs import ALPHA, Difference, Judgement, reverse_difference
from fanin.analysis.section_comparisons import compare_section
from fanin.analysis.section_runs import ABSENT, DIVERGED, OK, UNKNOWN, SectionRuns
from fanin.analysis.statistics import MIN_FOR_TEST

Pairing = Literal["paired", "unpaired", "other data", "absent"]
"""How a newcomer and a baseline were compared; ``absent`` if one of them has no run."""


@dataclass(frozen=True)
class BaselineDifference:
    """A newcomer minus one baseline."""

    difference: Difference
    """`value` is the newcomer, `reference` the baseline. Unpaired, n is the number of runs of the
    smaller group, and wins, losses and ties are 0.
    """
    pairing: Pairing

    @property
    def baseline(self) -> str:
        return self.difference.reference

    @property
    def judgement(self) -> str:
        """That of the difference; ``other data`` or ``absent`` if nothing is compared."""
        if self.pairing in ("other data", "absent"):
            return self.pairing
        return self.difference.judgement


@dataclass(frozen=True)
class NewcomerSection:
    """A newcomer beside the baselines of one section."""

    runs: SectionRuns
    newcomer: str
    against: tuple[BaselineDifference, ...]
    """In the plan's order."""

    @property
    def metric(self) -> str:
        return self.runs.metric

    @property
    def section(self) -> tuple[Any, ...]:
        """Values of `Design.section`."""
        return self.runs.section

    @property
    def estimate(self) -> statistics.Estimate:
        """The newcomer's mean over the replicates that ended with a value."""
        column = self.runs.names.index(self.newcomer)
        return statistics.estimate(self.runs.values[self.runs.states[:, column] == OK, column])

    @property
    def diverged(self) -> int:
        """How many runs of the newcomer diverged."""
        column = self.runs.names.index(self.newcomer)
        return int((self.runs.states[:, column] == DIVERGED).sum())

    @property
    def planned(self) -> int:
        """How many runs of the newcomer there are."""
        column = self.runs.names.index(self.newcomer)
        return int((self.runs.states[:, column] != ABSENT).sum())


def compare_newcomer(
    sections: Sequence[SectionRuns], newcomer: str, baselines: Sequence[str] | None = None
) -> tuple[NewcomerSection, ...]:
    """The newcomer beside the baselines of each section that has both.

    Args:
        sections: the runs of each section.
        newcomer: its name, as tables show it.
        baselines: the values to compare it with; all others by default.
    """
    return tuple(_compare(runs, newcomer, baselines) for runs in sections if newcomer in runs.names)


def _compare(runs: SectionRuns, newcomer: str, baselines: Sequence[str] | None) -> NewcomerSection:
    paired = {
        item.value: reverse_difference(item) for item in compare_section(runs, newcomer).differences
    }
    names = [name for name in paired if baselines is None or name in baselines]
    pairings = [_choose_pairing(runs, newcomer, name) for name in names]
    items = [
        paired[name] if pairing == "paired" else _compare_unpaired(runs, newcomer, name, len(names))
        for name, pairing in zip(names, pairings, strict=True)
    ]
    compared = [pairing in ("paired", "unpaired") for pairing in pairings]
    corrected = statistics.correct_holm(
        [
            item.p if is_compared else math.nan
            for item, is_compared in zip(items, compared, strict=True)
        ]
    )
    return NewcomerSection(
        runs,
        newcomer,
        tuple(
            BaselineDifference(_judge(item, float(p), runs.higher_is_better), pairing)
            for item, p, pairing in zip(items, corrected, pairings, strict=True)
        ),
    )


def _choose_pairing(runs: SectionRuns, newcomer: str, baseline: str) -> Pairing:
    """Pairs, if there are enough to test or nothing else; two groups, if the data are the same."""
    a, b = runs.names.index(newcomer), runs.names.index(baseline)
    there = (runs.states[:, [a, b]] != ABSENT).all(axis=1)
    if not there.any():
        return "absent"
    same = runs.origins[there, a] == runs.origins[there, b]
    if same.all() or same.sum() >= MIN_FOR_TEST:
        return "paired"
    same_data = runs.data is None or (runs.data[there, a] == runs.data[there, b]).all()
    return "unpaired" if same_data else "other data"


def _compare_unpaired(
    runs: SectionRuns, newcomer: str, baseline: str, comparisons: int
) -> Difference:
    """The difference of two groups of runs: those of the replicates that both have."""
    columns = [runs.names.index(newcomer), runs.names.index(baseline)]
    there = (runs.states[:, columns] != ABSENT).all(axis=1)
    states = runs.states[np.ix_(there, columns)]
    sign = 1 if runs.higher_is_better else -1
    groups = [
        sign * runs.values[there, column][states[:, i] == OK] for i, column in enumerate(columns)
    ]
    lost = [int((states[:, i] == DIVERGED).sum()) for i in range(2)]
    failed = int((states == UNKNOWN).sum())
    found = statistics.compare_groups(groups[0], groups[1], (lost[0], lost[1]))
    alpha = ALPHA / comparisons
    has_spread = math.isfinite(found.sd) and found.n >= 2
    low, high = sorted((sign * found.low, sign * found.high))
    return Difference(
        value=newcomer,
        reference=baseline,
        n=found.n,
        wins=0,
        losses=0,
        ties=0,
        diverged=sum(lost),
        failed=failed,
        mean=sign * found.mean,
        sd=found.sd,
        low=low,
        high=high,
        p=math.nan if failed else found.p,
        p_holm=math.nan,
        detectable=statistics.find_detectable_difference(found.sd, found.n, alpha=alpha)
        if has_spread
        else math.nan,
        needed=statistics.count_needed_replicates(found.mean, found.sd, alpha=alpha)
        if has_spread
        else None,
        judgement=_lean(lost, groups),
    )


def _lean(lost: Sequence[int], groups: Sequence[np.ndarray]) -> Judgement:
    """Which way two groups lean if one has diverged runs: by medians with those as the worst. It
    stands as the judgement until `_judge` has the corrected p.
    """
    medians = [
        statistics.compute_median(group, count, higher_is_better=True)
        for group, count in zip(groups, lost, strict=True)
    ]
    ranks = [-math.inf if math.isnan(median) else median for median in medians]
    if ranks[0] == ranks[1]:
        return "better" if lost[0] < lost[1] else "worse"
    return "better" if ranks[0] > ranks[1] else "worse"


def _judge(item: Difference, p_holm: float, higher_is_better: bool) -> Difference:
    """The difference with its corrected p, and what that allows to say."""
    judgement: Judgement
    if math.isnan(p_holm):
        judgement = "cannot tell" if item.n >= MIN_FOR_TEST else "too few"
    elif item.judgement == "equal":
        judgement = "equal"
    elif p_holm > ALPHA:
        judgement = "cannot tell"
    elif math.isfinite(item.mean):
        judgement = "better" if (item.mean > 0) == higher_is_better else "worse"
    elif item.wins != item.losses:
        judgement = "better" if item.wins > item.losses else "worse"
    else:
        judgement = item.judgement
    needed = item.needed if judgement in ("cannot tell", "too few") else None
    return replace(item, p_holm=p_holm, judgement=judgement, needed=needed)
