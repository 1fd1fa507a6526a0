"""Ranking: whether one initializer of a section may be called the best, and what could have been seen where not."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fanin.analysis import statistics
from fanin.analysis.statistics import LEVEL, MIN_FOR_TEST
from fanin.analysis.summary import higher_is_better, main_metric, sections


@dataclass(frozen=True)
class Verdict:
    """What a section's replicates allow to be said about its best initializer."""

    section: tuple[Any, ...]
    """Values of `summary.SECTION`."""
    metric: str
    pairs: int
    """Fewest replicates that any two initializers have in common."""
    best: str | None
    """The initializer that beats every other one, if any does."""
    detectable: float
    """Too few pairs to test: the difference in the metric that could have been seen for a typical pair; nan otherwise."""

    @property
    def too_few(self) -> bool:
        return self.pairs < MIN_FOR_TEST


def verdicts(frame: pd.DataFrame) -> list[Verdict]:
    """A verdict for each section of `frames.cells_frame` that compares at least two initializers and has results."""
    judged = []
    for key, section in sections(frame):
        metric = main_metric(section)
        if metric is not None and section["initializer"].nunique() >= 2:
            judged.append(_judge(key, section, metric))
    return judged


def _judge(key: tuple[Any, ...], section: pd.DataFrame, metric: str) -> Verdict:
    values = _by_block(section.assign(**{metric: section[metric].where(section["outcome"] == "ok")}), metric)
    environments = _by_block(section, "environment")
    couples = [_common(values, environments, a, b) for a, b in itertools.combinations(values.columns, 2)]
    pairs = min(len(a) for a, _ in couples)
    deviations = [statistics.estimate(a - b).sd for a, b in couples if len(a) == pairs >= 2]
    few = 2 <= pairs < MIN_FOR_TEST
    detectable = statistics.smallest_detectable_difference(statistics.pooled_sd(deviations), pairs) if few else math.nan
    return Verdict(key, metric, pairs, _best(values, environments, metric), detectable)


def _best(values: pd.DataFrame, environments: pd.DataFrame, metric: str) -> str | None:
    """The initializer with the best mean, if its paired interval against each of the k − 1 others excludes zero.

    The intervals have level 1 − 0.05 / (k − 1) (Bonferroni), so the chance of naming one that is not the best is below 5 %.
    An initializer with a missing or diverged run is not named.
    """
    sign = 1 if higher_is_better(metric) else -1
    whole = values.columns[values.notna().all()]
    if len(whole) == 0 or len(values) < MIN_FOR_TEST:
        return None
    best = str((sign * values[whole].mean()).idxmax())
    level = 1 - (1 - LEVEL) / (len(values.columns) - 1)
    rivals = [name for name in values.columns if name != best]
    return best if all(_beats(_common(values, environments, best, rival), sign, level) for rival in rivals) else None


def _beats(couple: tuple[np.ndarray, np.ndarray], sign: int, level: float) -> bool:
    a, b = couple
    if len(a) < MIN_FOR_TEST:
        return False
    difference = statistics.paired_difference(sign * a, sign * b, level).estimate
    return difference.mean - difference.half_width > 0


def _common(values: pd.DataFrame, environments: pd.DataFrame, a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values of two initializers in the blocks where both trained to the end, in one and the same environment."""
    both = values[a].notna() & values[b].notna() & (environments[a] == environments[b])
    return values[a][both].to_numpy(), values[b][both].to_numpy()


def _by_block(section: pd.DataFrame, column: str) -> pd.DataFrame:
    return section.pivot(index="block", columns="initializer", values=column)
