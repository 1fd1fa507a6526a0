"""Titles of the axes of metrics: the metric in words, its unit, and which way is better."""

from __future__ import annotations

from fanin.analysis.factors import format_title
from fanin.analysis.units import find_unit


def format_metric_axis(metric: str, dataset: str, *, higher_is_better: bool) -> str:
    """``test MAE ($), lower is better``. That higher is better goes without saying."""
    unit = find_unit(dataset, metric)
    title = f"{format_title(metric)} ({unit})" if unit else format_title(metric)
    return title if higher_is_better else f"{title}, lower is better"


def find_common_unit(metric: str, datasets: set[str]) -> str:
    """The metric's unit, if it is the same on all data sets; else empty."""
    units = {find_unit(dataset, metric) for dataset in datasets}
    return units.pop() if len(units) == 1 else ""
