"""The summary of a study as pandas would compute it: the slow, obvious counterpart of
`fanin.analysis.summary.summarise`.
"""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pandas as pd

from fanin.analysis import statistics
from fanin.analysis.analysis import Analysis
from fanin.analysis.cell_table import OUTCOMES
from fanin.analysis.design import group_rows, split_sections
from fanin.analysis.factors import FACTORS, LEADING, format_value
from fanin.analysis.summary import find_main_metric, get_directions, is_higher_better, list_metrics
from fanin.report.escaping import escape_csv

FIRST = ("model", "data", "initializer", "val_accuracy", "test_accuracy")
FIRST += ("test_mae", "test_loss", "epochs")


def write_csv(analysis: Analysis) -> str:
    """``fanin export --to csv`` from a frame, row by row."""
    frame = summarise_frame(analysis)
    names = [*FIRST, *(name for name in frame.columns if name not in FIRST)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset" if name == "data" else escape_csv(name) for name in names])
    for row in frame.reindex(columns=names).itertuples(index=False, name=None):
        writer.writerow(
            [
                escape_csv(int(value))
                if name in ("epochs", "best_epoch") and isinstance(value, float) and value % 1 == 0
                else escape_csv(value)
                for name, value in zip(names, row, strict=True)
            ]
        )
    return text.getvalue()


def summarise_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per condition, from the frame of cells."""
    frame, design = analysis.frame, analysis.design
    metrics = list_metrics(frame)
    ranks = {key: rank_section(section, analysis) for key, section in split_sections(frame, design)}
    rows = []
    for key, section in split_sections(frame, design):
        for (value,), group in group_rows(section, [design.compared]):
            row = {name: group[name].iloc[0] for name in design.factors}
            row |= count_outcomes(group)
            row["mean_rank"] = ranks[key].get(format_value(value), math.nan)
            for metric in metrics:
                row |= summarise_metric(group, metric)
            rows.append(row)
    numbers = [m + suffix for m in metrics for suffix in ("", "_sd", "_half_width", "_median")]
    later = [name for name in (*FACTORS, *design.factors) if name not in LEADING]
    counts = ["planned", *OUTCOMES, "divergence_rate", "mean_rank"]
    return pd.DataFrame(rows, columns=[*LEADING, *counts, *numbers, *dict.fromkeys(later)])


def count_outcomes(group: pd.DataFrame) -> dict[str, Any]:
    counts = {name: int((group["outcome"] == name).sum()) for name in OUTCOMES}
    rate = statistics.compute_divergence_rate(counts["diverged"], counts["ok"])
    return {"planned": len(group), **counts, "divergence_rate": rate}


def summarise_metric(group: pd.DataFrame, metric: str) -> dict[str, float]:
    values = group.loc[group["outcome"] == "ok", metric].dropna().to_numpy()
    diverged = int((group["outcome"] == "diverged").sum())
    higher = is_higher_better(metric, get_directions(group))
    median = statistics.compute_median(values, diverged, higher_is_better=higher)
    mean = statistics.estimate([] if diverged else values)
    return {
        metric: mean.mean,
        f"{metric}_sd": mean.sd,
        f"{metric}_half_width": mean.half_width,
        f"{metric}_median": median,
    }


def rank_section(section: pd.DataFrame, analysis: Analysis) -> dict[str, float]:
    """Compared value → its mean rank over the replicates in which every condition finished."""
    design, metric = analysis.design, find_main_metric(section)
    if metric is None or section[design.compared].nunique() < 2:
        return {}
    named = section.assign(
        compared=section[design.compared].map(format_value),
        value=section[metric].where(section["outcome"] == "ok"),
    )
    index = list(design.pairing)
    outcomes = named.pivot(index=index, columns="compared", values="outcome")
    values = named.pivot(index=index, columns="compared", values="value")
    unmeasured = (outcomes == "ok") & values.isna()
    complete = outcomes.isin(("ok", "diverged")).all(axis=1) & ~unmeasured.any(axis=1)
    higher = is_higher_better(metric, get_directions(section))
    ranks = [
        statistics.rank(row, higher_is_better=higher) for row in values[complete].to_numpy(float)
    ]
    return {
        name: sum(rank[i] for rank in ranks) / len(ranks)
        for i, name in enumerate(values.columns)
        if ranks
    }
