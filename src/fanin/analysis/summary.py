"""Summary: one row per condition, such as an initializer of a model × data, over its replicates."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fanin.analysis import statistics
from fanin.analysis.design import Design, group_rows, split_sections
from fanin.analysis.factors import FACTORS, LEADING, format_value
from fanin.analysis.frames import OUTCOMES

SUFFIXES = ("", "_sd", "_half_width", "_median")
"""What follows a metric's name in the columns of a summary; the mean has the bare name."""


def summarise(frame: pd.DataFrame, design: Design) -> pd.DataFrame:
    """One row per condition of a frame: sections in the plan's order, the compared values in each.

    Columns: the `LEADING` factors; planned and the number of cells of each outcome;
    divergence_rate; mean_rank; for each metric m its mean over the ok replicates as m, then m_sd,
    m_half_width (95 %, from 5 replicates on) and m_median; and the other factors. If a replicate
    diverged, there is no mean, and the median counts it as the worst value. mean_rank is over the
    replicates in which every condition of the section finished.
    """
    metrics = list_metrics(frame)
    factors = {name: frame[name] for name in design.factors}
    rows = [
        {name: column.at[rows.index[0]] for name, column in factors.items()}
        | _summarise_condition(rows, metrics, get_directions(frame))
        for _, section in split_sections(frame, design)
        for _, rows in group_rows(section, [design.compared])
    ]
    counts = ["planned", *OUTCOMES, "divergence_rate", "mean_rank"]
    later = [name for name in (*FACTORS, *design.factors) if name not in LEADING]
    columns = [
        *LEADING,
        *counts,
        *(metric + suffix for metric in metrics for suffix in SUFFIXES),
        *dict.fromkeys(later),
    ]
    summary = pd.DataFrame(rows, columns=pd.Index(columns))
    mean_ranks = _compute_mean_ranks(frame, design)
    keys = summary[[*design.section, design.compared]].itertuples(index=False, name=None)
    summary["mean_rank"] = [mean_ranks.get((*key[:-1], format_value(key[-1]))) for key in keys]
    return summary.astype({"mean_rank": "float64"})


def list_metrics(frame: pd.DataFrame) -> list[str]:
    """The metrics among a frame's columns."""
    names = [str(name) for name in frame.columns]
    return names[names.index("outcome") + 1 : names.index("seconds")]


def find_main_metric(section: pd.DataFrame) -> str | None:
    """The metric that ranks a section's conditions: its test metric, or the test loss if it has no
    other.
    """
    ok = section[section["outcome"] == "ok"]
    measured = [
        name
        for name in list_metrics(section)
        if name.startswith("test_") and ok[name].notna().any()
    ]
    return min(measured, key=lambda name: name == "test_loss", default=None)


def is_higher_better(metric: str, directions: Mapping[str, str] | None = None) -> bool:
    """Whether a higher metric is better: true of accuracies and PSNR, false of losses, errors,
    perplexities and numbers of epochs.

    Args:
        metric: its name, with or without ``val_`` or ``test_``.
        directions: ``max`` or ``min`` for users' metrics (`get_directions`).
    """
    base = metric.removeprefix("test_").removeprefix("val_")
    if directions and base in directions:
        return directions[base] == "max"
    return base.endswith("accuracy") or base == "psnr"


def get_directions(frame: pd.DataFrame) -> Mapping[str, str]:
    """Which way users' metrics are better, by name: ``max`` or ``min``."""
    directions: Mapping[str, str] = frame.attrs.get("directions", {})
    return directions


def _summarise_condition(
    group: pd.DataFrame, metrics: list[str], directions: Mapping[str, str]
) -> dict[Hashable, Any]:
    outcomes = group["outcome"].tolist()
    counts = {outcome: outcomes.count(outcome) for outcome in OUTCOMES}
    row: dict[Hashable, Any] = {"planned": len(group)}
    row.update(counts)
    row["divergence_rate"] = statistics.compute_divergence_rate(counts["diverged"], counts["ok"])
    values = group[metrics].to_numpy(dtype=np.float64)[np.array(outcomes) == "ok"]
    for metric, column in zip(metrics, values.T, strict=True):
        row |= _summarise_metric(
            metric,
            column[~np.isnan(column)],
            counts["diverged"],
            is_higher_better(metric, directions),
        )
    return row


def _summarise_metric(
    metric: str, values: np.ndarray, diverged: int, higher: bool
) -> dict[Hashable, float]:
    median = statistics.compute_median(values, diverged, higher_is_better=higher)
    if diverged:
        return dict(
            zip(
                (metric + suffix for suffix in SUFFIXES),
                (math.nan, math.nan, math.nan, median),
                strict=True,
            )
        )
    mean = statistics.estimate(values)
    numbers = (mean.mean, mean.sd, mean.half_width, median)
    return dict(zip((metric + suffix for suffix in SUFFIXES), numbers, strict=True))


def _compute_mean_ranks(frame: pd.DataFrame, design: Design) -> dict[tuple[Any, ...], float]:
    """(section, compared value as text) → its rank, averaged over the complete replicates."""
    means: dict[tuple[Any, ...], float] = {}
    for key, section in split_sections(frame, design):
        metric = find_main_metric(section)
        if metric is None or section[design.compared].nunique() < 2:
            continue
        named = section.assign(
            compared=section[design.compared].map(format_value),
            value=section[metric].where(section["outcome"] == "ok"),
        )
        outcomes = named.pivot(index=list(design.pairing), columns="compared", values="outcome")
        values = named.pivot(index=list(design.pairing), columns="compared", values="value")
        unmeasured = (outcomes == "ok") & values.isna()
        complete = outcomes.isin(("ok", "diverged")).all(axis=1) & ~unmeasured.any(axis=1)
        table = values[complete]
        higher = is_higher_better(metric, get_directions(frame))
        ranked = statistics.rank_rows(table.to_numpy(dtype=np.float64), higher_is_better=higher)
        if len(ranked):
            means |= {
                (*key, name): float(rank)
                for name, rank in zip(table.columns, np.mean(ranked, axis=0), strict=True)
            }
    return means
