"""The measured impact of one compared value: metric, epochs to a target, divergence, and cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import split_sections
from fanin.analysis.factors import format_title, format_value
from fanin.analysis.impact import Impact, measure_condition
from fanin.analysis.statistics import estimate_survival, find_time
from fanin.analysis.summary import find_main_metric, get_directions, is_higher_better
from fanin.cell.result import Result
from fanin.report.escaping import escape_invisible
from fanin.report.numbers import NOTHING, choose_number_format
from fanin.report.tables.table_entries import (
    choose_format,
    choose_spread,
    describe_rate_interval,
    make_number_entry,
)
from fanin.store.stored_histories import iterate_histories

SHARE = 0.98
"""The target is this share of the best mean of the section; of an error, the best divided by it."""


@dataclass(frozen=True)
class ImpactRow:
    """One section, for one compared value."""

    section: str
    metric: str
    text: str
    """The metric's mean with its spread."""
    target: str
    epochs: str
    """The median epoch in which the target was reached (Kaplan and Meier), and how many runs did.
    """
    diverged: str
    gradient: str
    """The first layer's gradient over the last layer's at the start, and later; a dash where no
    signals were measured.
    """
    dead: str
    """The largest share of dead units."""
    update: str
    """The largest update ratio."""
    seconds: str
    """Median seconds to compute the initial weights; a dash where they were not measured."""


def list_impact(analysis: Analysis) -> dict[str, list[ImpactRow]]:
    """Compared value, as text → its rows."""
    design, found = analysis.design, dict[str, list[ImpactRow]]()
    summaries = dict(split_sections(analysis.summary, design))
    for key, section in split_sections(analysis.frame, design):
        metric = find_main_metric(section)
        if metric is None:
            continue
        higher = is_higher_better(metric, get_directions(analysis.frame))
        runs: dict[str, list[Result]] = {}
        for value, cells in section.groupby(design.compared, sort=False)["cell"]:
            there = [analysis.results[cell] for cell in cells if cell in analysis.results]
            runs[format_value(value)] = there
        curves = {name: _collect_curves(some, metric) for name, some in runs.items()}
        target = _choose_target(curves.values(), higher=higher)
        horizon = max((len(each.values) for some in curves.values() for each in some), default=0)
        suffix = choose_spread(int(summaries[key]["planned"].max()))
        form = choose_format(summaries[key], metric, suffix)
        for group in summaries[key].to_dict("records"):
            name = format_value(group[design.compared])
            impact = measure_condition(runs[name], {})
            row = ImpactRow(
                section=escape_invisible(design.name_section(key)),
                metric=escape_invisible(format_title(metric)),
                text=make_number_entry(group, metric, form, suffix, best=False).text,
                target=_format_number(metric, target),
                epochs=_describe_epochs(curves[name], target, horizon, higher=higher),
                diverged=_describe_divergence(group),
                gradient=_describe_gradient(impact),
                dead=NOTHING if math.isnan(impact.dead_units) else f"{impact.dead_units:.0%}",
                update=_format_size(impact.largest_update),
                seconds=_describe_seconds(runs[name]),
            )
            found.setdefault(name, []).append(row)
    return found


@dataclass(frozen=True)
class _Curve:
    """The validation metric by epoch of one run."""

    values: np.ndarray
    outcome: str


def _collect_curves(runs: Sequence[Result], metric: str) -> list[_Curve]:
    """The curve of each run, one that diverged or failed included; one without epochs is empty."""
    column = metric.replace("test_", "val_", 1)
    histories = iterate_histories(run.history for run in runs)
    return [
        _Curve(np.asarray(history.get(column, ()), dtype=np.float64), run.outcome)
        for run, history in zip(runs, histories, strict=True)
    ]


def _choose_target(curves: Iterable[Sequence[_Curve]], *, higher: bool) -> float:
    """`SHARE` of the best mean, over replicates, of the best epoch; nan without curves."""
    finished = [
        [each.values for each in some if each.outcome == "ok" and len(each.values)]
        for some in curves
    ]
    best = [
        float(np.mean([np.nanmax(curve) if higher else np.nanmin(curve) for curve in some]))
        for some in finished
        if some
    ]
    if not best:
        return math.nan
    return max(best) * SHARE if higher else min(best) / SHARE


def _describe_epochs(curves: Sequence[_Curve], target: float, horizon: int, *, higher: bool) -> str:
    """``7 (3 of 3)``: the median by Kaplan and Meier's estimate, which takes a run that stopped
    early, or failed, as unknown from then on. One that diverged, whenever, never reaches the
    target: it counts as watched up to the horizon. The median is ``open`` if fewer than half of the
    runs were seen to reach it, and ``never`` if none was.
    """
    times: list[float] = []
    reached: list[bool] = []
    for curve in curves:
        time, is_there = find_time(curve.values, target, higher_is_better=higher)
        if curve.outcome == "diverged":
            time, is_there = float(horizon), False
        if time:  # a run that failed before its first epoch says nothing of when
            times.append(time)
            reached.append(is_there)
    if not times or math.isnan(target):
        return NOTHING
    middle = estimate_survival(times, reached).median
    shown = f"{middle:g}" if math.isfinite(middle) else "open" if any(reached) else "never"
    return f"{shown} ({sum(reached)} of {len(curves)})"


def _describe_divergence(group: Mapping[Any, Any]) -> str:
    finished = group["ok"] + group["diverged"]
    if not finished:
        return NOTHING
    return f"{group['diverged']} of {finished}{describe_rate_interval(group)}"


def _describe_gradient(impact: Impact) -> str:
    """``0.012 → 0.4``: at the start, and later."""
    if not impact.measured:
        return NOTHING
    return f"{_format_size(impact.gradient_ratio)} → {_format_size(impact.gradient_ratio_later)}"


def _format_size(value: float) -> str:
    return NOTHING if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.2g}"


def _describe_seconds(runs: Iterable[Result]) -> str:
    known = [run.timings["initialize"] for run in runs if "initialize" in run.timings]
    return f"{statistics.median(known):.4f}" if known else NOTHING


def _format_number(metric: str, value: float) -> str:
    return choose_number_format(metric, [value]).text(value)
