"""Ranking: whether one condition of a section is the best, and what difference could be seen."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fanin.analysis import statistics
from fanin.analysis.design import Design, split_sections
from fanin.analysis.factors import format_value
from fanin.analysis.statistics import LEVEL, MIN_FOR_TEST
from fanin.analysis.summary import find_main_metric, get_directions, is_higher_better


@dataclass(frozen=True)
class Verdict:
    """What a section's replicates say about the best of the compared values."""

    section: tuple[Any, ...]
    """Values of `Design.section`."""
    metric: str
    pairs: int
    """The fewest replicates that two conditions have in common."""
    best: str | None
    """The compared value that beats every other, as `factors.format_value` writes it; or None."""
    detectable: float
    """With too few pairs to test: the difference that a typical pair could have shown; else nan."""

    @property
    def too_few(self) -> bool:
        return self.pairs < MIN_FOR_TEST


def judge_sections(frame: pd.DataFrame, design: Design) -> list[Verdict]:
    """A verdict for each section of a frame that compares two or more values and has results."""
    judged = []
    for key, section in split_sections(frame, design):
        metric = find_main_metric(section)
        if metric is not None and section[design.compared].nunique() >= 2:
            judged.append(
                _judge(
                    key,
                    _arrange_runs(
                        section, design, metric, is_higher_better(metric, get_directions(frame))
                    ),
                    metric,
                )
            )
    return judged


@dataclass(frozen=True)
class _Runs:
    """A section's runs as matrices of shape (replicates, compared values)."""

    names: list[str]
    values: np.ndarray
    """The metric, signed so that higher is better; nan if a run did not finish."""
    origins: np.ndarray
    """Environment and fingerprint of the data."""

    def common(self, a: int, b: int) -> np.ndarray:
        """Differences a − b over the replicates in which both finished in the same environment,
        with the same data.
        """
        difference = self.values[:, a] - self.values[:, b]
        paired: np.ndarray = difference[
            ~np.isnan(difference) & (self.origins[:, a] == self.origins[:, b])
        ]
        return paired


def _judge(key: tuple[Any, ...], runs: _Runs, metric: str) -> Verdict:
    differences = [runs.common(a, b) for a, b in itertools.combinations(range(len(runs.names)), 2)]
    pairs = min(map(len, differences))
    few = 2 <= pairs < MIN_FOR_TEST
    deviations = [float(d.std(ddof=1)) for d in differences if few and len(d) == pairs]
    detectable = (
        statistics.find_detectable_difference(statistics.pool_deviations(deviations), pairs)
        if few
        else math.nan
    )
    return Verdict(key, metric, pairs, _find_best(runs), detectable)


def _find_best(runs: _Runs) -> str | None:
    """The value with the best mean, if its paired interval against each of the k − 1 others
    excludes zero.

    The intervals have level 1 − 0.05 / (k − 1) (Bonferroni), so the probability of naming a value
    that is not the best is below 5 %. A value with a missing or diverged run is never named.
    """
    whole = np.flatnonzero(~np.isnan(runs.values).any(axis=0))
    if len(whole) == 0 or len(runs.values) < MIN_FOR_TEST:
        return None
    best = int(whole[runs.values[:, whole].mean(axis=0).argmax()])
    level = 1 - (1 - LEVEL) / (len(runs.names) - 1)
    rivals = (i for i in range(len(runs.names)) if i != best)
    return (
        runs.names[best]
        if all(_is_positive(runs.common(best, rival), level) for rival in rivals)
        else None
    )


def _is_positive(difference: np.ndarray, level: float) -> bool:
    if len(difference) < MIN_FOR_TEST:
        return False
    estimate = statistics.estimate(difference, level)
    return estimate.mean - estimate.half_width > 0


def _arrange_runs(section: pd.DataFrame, design: Design, metric: str, higher: bool) -> _Runs:
    value = (1 if higher else -1) * section[metric].where(section["outcome"] == "ok")
    named = section.assign(
        compared=section[design.compared].map(format_value),
        value=value,
        origin=section["environment"] + " | " + section["fingerprint"],
    )
    both = named.pivot(index=list(design.pairing), columns="compared", values=["value", "origin"])
    names = [str(name) for name in both["value"].columns]
    return _Runs(
        names, both["value"].to_numpy(dtype=np.float64), both["origin"].to_numpy(dtype=object)
    )
