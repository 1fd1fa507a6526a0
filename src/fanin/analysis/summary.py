"""Summary: one row per group, that is per initializer of a model × data, over its replicates."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from fanin.analysis import statistics
from fanin.analysis.frames import FACTORS, OUTCOMES

SECTION = [name for name in FACTORS if name != "initializer"]
"""The factors that initializers are compared within."""

GROUP = [*SECTION, "initializer"]

SUFFIXES = ("", "_sd", "_half_width", "_median")
"""What follows a metric's name in the columns of a summary; the mean has the bare name."""


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per group of `frames.cells_frame`: sections in the order of the plan, initializers within them.

    Columns: the `FACTORS`; planned and the number of cells of each outcome; divergence_rate; mean_rank; and for each metric m
    its mean over the ok replicates as m, then m_sd, m_half_width (95 %, from 5 replicates on) and m_median. Where a replicate
    diverged there is no mean, and the median counts it as worst. mean_rank is over the replicates in which every initializer
    of the section finished.
    """
    metrics = metric_names(frame)
    rows = [_group_row(group, metrics) for _, section in sections(frame) for _, group in _grouped(section, ["initializer"])]
    counts = ["planned", *OUTCOMES, "divergence_rate", "mean_rank"]
    columns = [*FACTORS, *counts, *(metric + suffix for metric in metrics for suffix in SUFFIXES)]
    summary = pd.DataFrame(rows, columns=pd.Index(columns))
    mean_ranks = _mean_ranks(frame)
    summary["mean_rank"] = [mean_ranks.get(key) for key in summary[GROUP].itertuples(index=False, name=None)]
    return summary.astype({"mean_rank": "float64"})


def metric_names(frame: pd.DataFrame) -> list[str]:
    """The metrics among a frame's columns."""
    names = [str(name) for name in frame.columns]
    return names[names.index("outcome") + 1 : names.index("seconds")]


def main_metric(section: pd.DataFrame) -> str | None:
    """The metric by which a section's initializers are ranked: its test metric, or the test loss where it has no other."""
    ok = section[section["outcome"] == "ok"]
    measured = [name for name in metric_names(section) if name.startswith("test_") and ok[name].notna().any()]
    return min(measured, key=lambda name: name == "test_loss", default=None)


def higher_is_better(metric: str) -> bool:
    """Accuracies are to be high; losses, errors and numbers of epochs are to be low."""
    return metric.endswith("accuracy")


def sections(frame: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """(values of `SECTION`, rows) of each section, in the order of the plan."""
    return _grouped(frame, SECTION)


def _grouped(frame: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    yield from frame.groupby(keys, sort=False, dropna=False)


def _group_row(group: pd.DataFrame, metrics: list[str]) -> dict[Hashable, Any]:
    outcomes = group["outcome"].tolist()
    counts = {outcome: outcomes.count(outcome) for outcome in OUTCOMES}
    row: dict[Hashable, Any] = dict(zip(FACTORS, group[list(FACTORS)].iloc[0], strict=True))
    row.update(planned=len(group), **counts)
    row["divergence_rate"] = statistics.divergence_rate(counts["diverged"], counts["ok"])
    values = group[metrics].to_numpy(dtype=np.float64)[np.array(outcomes) == "ok"]
    for metric, column in zip(metrics, values.T, strict=True):
        row |= _metric_columns(metric, column, counts["diverged"])
    return row


def _metric_columns(metric: str, values: np.ndarray, diverged: int) -> dict[Hashable, float]:
    median = statistics.median_with_diverged(values, diverged, higher_is_better=higher_is_better(metric))
    if diverged:
        return dict(zip((metric + suffix for suffix in SUFFIXES), (math.nan, math.nan, math.nan, median), strict=True))
    mean = statistics.estimate(values)
    numbers = (mean.mean, mean.sd, mean.half_width, median)
    return dict(zip((metric + suffix for suffix in SUFFIXES), numbers, strict=True))


def _mean_ranks(frame: pd.DataFrame) -> dict[tuple[Any, ...], float]:
    """Group → its rank in the section's metric, averaged over the blocks in which every cell finished."""
    means: dict[tuple[Any, ...], float] = {}
    for key, section in sections(frame):
        metric = main_metric(section)
        if metric is None or section["initializer"].nunique() < 2:
            continue
        outcomes = section.pivot(index="block", columns="initializer", values="outcome")
        complete = outcomes.isin(("ok", "diverged")).all(axis=1)
        values = section.assign(ok=section[metric].where(section["outcome"] == "ok"))
        table = values.pivot(index="block", columns="initializer", values="ok")[complete]
        ranked = [statistics.ranks(row, higher_is_better=higher_is_better(metric)) for row in table.to_numpy()]
        if ranked:
            means |= {(*key, name): float(rank) for name, rank in zip(table.columns, np.mean(ranked, axis=0), strict=True)}
    return means
