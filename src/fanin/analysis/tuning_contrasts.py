"""Tuning contrasts: whether tuned learning rates change how compared values differ.

For a value and a reference, the contrast is (value − reference) with tuned rates minus (value −
reference) with the fixed one: a difference of differences, over replicates in which all four runs
share environment, data and seeds. A ranking always changes by noise. So the order of two values is
said to change only if each order is shown by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanin.analysis import statistics
from fanin.analysis.paired_runs import Difference, PairedRuns
from fanin.analysis.section_comparisons import SectionComparison, compare_section
from fanin.analysis.section_runs import ABSENT, DIVERGED, UNKNOWN, SectionRuns

FACTOR = "tuned"


@dataclass(frozen=True)
class TuningContrast:
    """One value and the reference, with the fixed rate and with tuned ones."""

    fixed: Difference
    tuned: Difference
    contrast: Difference
    """tuned − fixed; ``better`` if tuning favours the value over the reference."""

    @property
    def value(self) -> str:
        return self.contrast.value

    @property
    def is_reversed(self) -> bool:
        """Whether the order of value and reference changes, and each order is shown."""
        return {self.fixed.judgement, self.tuned.judgement} == {"better", "worse"}


@dataclass(frozen=True)
class SectionContrast:
    """A section with the fixed rate beside the same with tuned ones."""

    fixed: SectionComparison
    tuned: SectionComparison
    contrasts: tuple[TuningContrast, ...]
    """Of each value but the reference; p_holm is corrected over them."""

    @property
    def section(self) -> tuple[Any, ...]:
        """Values of `Design.section`, those of the tuned half."""
        return self.tuned.section

    @property
    def reference(self) -> str:
        return self.tuned.reference

    @property
    def metric(self) -> str:
        return self.tuned.metric


def contrast_tuning(
    sections: Sequence[SectionRuns], factors: Sequence[str], fixed: str, reference: str | None
) -> tuple[SectionContrast, ...]:
    """The contrasts of all sections that a study trained with both rates; none if it has no such.

    Args:
        sections: the runs of each section.
        factors: what the values of `SectionRuns.section` are of (`Design.section`).
        fixed: what the half with the fixed rate is called.
        reference: the value to compare with, as for `compare_section`.
    """
    if FACTOR not in factors:
        return ()
    at = list(factors).index(FACTOR)
    halves: dict[tuple[Any, ...], dict[bool, SectionRuns]] = {}
    for runs in sections:
        rest = (*runs.section[:at], *runs.section[at + 1 :])
        halves.setdefault(rest, {})[runs.section[at] == fixed] = runs
    return tuple(
        _contrast(both[True], both[False], reference)
        for both in halves.values()
        if len(both) == 2 and _match(both[True], both[False])
    )


def _match(fixed: SectionRuns, tuned: SectionRuns) -> bool:
    return fixed.names == tuned.names and fixed.metric == tuned.metric


def _contrast(fixed: SectionRuns, tuned: SectionRuns, reference: str | None) -> SectionContrast:
    halves = [compare_section(runs, reference) for runs in (fixed, tuned)]
    at = tuned.names.index(halves[1].reference)
    others = [i for i in range(len(tuned.names)) if i != at]
    pairs = [_pair_differences(fixed, tuned, i, at) for i in others]
    corrected = statistics.correct_holm([pair.p_value for pair in pairs])
    contrasts = [pair.judge(float(p), len(pairs)) for pair, p in zip(pairs, corrected, strict=True)]
    return SectionContrast(
        halves[0],
        halves[1],
        tuple(
            TuningContrast(
                halves[0].get_difference(item.value), halves[1].get_difference(item.value), item
            )
            for item in contrasts
        ),
    )


def _pair_differences(
    fixed: SectionRuns, tuned: SectionRuns, value: int, reference: int
) -> PairedRuns:
    """The differences with tuned rates as the value of a pair, those with the fixed one as its
    reference.
    """
    rows = min(len(fixed.states), len(tuned.states))
    columns = [value, reference]
    states = np.hstack([fixed.states[:rows, columns], tuned.states[:rows, columns]])
    origins = np.hstack([fixed.origins[:rows, columns], tuned.origins[:rows, columns]])
    there = (states != ABSENT).all(axis=1)
    unknown = there & (states == UNKNOWN).any(axis=1)
    paired = there & ~unknown & (origins == origins[:, :1]).all(axis=1)
    lost = states == DIVERGED
    with np.errstate(invalid="ignore"):
        halves = [
            np.where(
                lost[:, i : i + 2].all(axis=1),
                0.0,
                runs.gains[:rows, value] - runs.gains[:rows, reference],
            )
            for i, runs in ((0, fixed), (2, tuned))
        ]
        gains = halves[1] - halves[0]
    gains = np.where((halves[1] == halves[0]) & np.isinf(halves[0]), 0.0, gains)
    return PairedRuns(
        tuned.names[value],
        tuned.names[reference],
        tuned.higher_is_better,
        np.where(paired, gains, math.nan),
        unknown,
        int((lost.any(axis=1) & paired).sum()),
    )
