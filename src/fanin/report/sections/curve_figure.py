"""The figure of training curves: a panel for each section, a line for each compared value.

A line is the mean over the replicates while all of them run. Its band is the mean's 95 % interval
(Student's t, from 5 replicates on), or the range of the replicates below that. Where a replicate
diverged there is no mean, and the single replicates are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import split_sections
from fanin.analysis.factors import format_title, format_value
from fanin.analysis.statistics import LEVEL, MIN_FOR_INTERVAL
from fanin.analysis.summary import get_directions, is_higher_better
from fanin.analysis.units import find_unit
from fanin.cell.result import Result
from fanin.cell.signal_columns import is_signal_column
from fanin.report.escaping import escape_invisible
from fanin.report.figures.axis_focus import find_far
from fanin.report.sections.page_figure import (
    PageFigure,
    join_sentences,
    name_values,
    pick_places,
    round_numbers,
)
from fanin.store.stored_histories import iterate_histories

MAX_NUMBERS = 500_000
"""Numbers of the whole figure, about; more are thinned out."""

MAX_PANELS = 240
MAX_LINES = 40
"""Panels, and lines of a panel. The caption says how many are left out."""

MAX_RUNS = 20
"""Single replicates of a line."""

FAR_LINES = (
    "A triangle at the edge, with the last value: far worse than all others, beyond the axis."
)

_MAX_POINTS, _MIN_POINTS = 200, 12
_METRIC = "metric"
"""What stands for the task's metric, whose name differs from panel to panel."""

Column = NDArray[np.float64]


@dataclass(frozen=True)
class _Budget:
    """What a figure can hold of the histories."""

    points: int
    """The most points of a line."""
    runs: int
    """The most single replicates of a condition."""


def make_curve_figure(analysis: Analysis) -> PageFigure | None:
    """The figure; None if no cell has a history."""
    frame, design = analysis.frame, analysis.design
    if not any(result.history for result in analysis.planned_results):
        return None
    values = list(dict.fromkeys(frame[design.compared]))
    names = [format_value(value) for value in values]
    sections = list(split_sections(frame, design))
    budget = _fit_budget(analysis, min(len(sections), MAX_PANELS) * min(len(names), MAX_LINES))
    panels, keys = [], dict[str, None]()
    varying = [name for name in design.headings if name in design.varying]
    for key, section in sections[:MAX_PANELS]:
        title = escape_invisible(design.name_section(key, varying)) if varying else ""
        panel = _make_panel(title, section, analysis, names[:MAX_LINES], budget)
        keys |= dict.fromkeys(panel.pop("keys"))
        panels.append(panel)
    compared = design.format_title(design.compared)
    data = {
        "kind": "lines",
        "names": name_values(values, format_value),
        "axis": {"title": "epoch", "log": False, "whole": True},
        "metrics": _list_choices(keys),
        "panels": panels,
        "legend": True,
        "mayShowRuns": budget.runs > 0 and frame["replicate"].nunique() > 1,
    }
    has_far = any(
        one.get("far") for panel in panels for line in panel["lines"] for one in line["m"].values()
    )
    caption = _write_caption(frame, compared, len(sections), len(names), has_far=has_far)
    return PageFigure("Training curves", caption, data)


def _fit_budget(analysis: Analysis, lines: int) -> _Budget:
    """How many points each line may have, and whether there is room for single replicates."""
    first = next(result for result in analysis.planned_results if result.history)
    columns = sum(name != "seconds" and not is_signal_column(name) for name in first.history)
    epochs = max((int(r.metrics.get("epochs", 0)) for r in analysis.planned_results), default=0)
    epochs = min(max(epochs, 1), _MAX_POINTS)
    means = 3 * columns * lines
    points = int(min(max(MAX_NUMBERS / max(means, 1), _MIN_POINTS), _MAX_POINTS))
    runs = len(analysis.planned_results) * columns * epochs
    return _Budget(points, MAX_RUNS if means * min(points, epochs) + runs <= MAX_NUMBERS else 0)


def _make_panel(
    title: str, section: pd.DataFrame, analysis: Analysis, names: Sequence[str], budget: _Budget
) -> dict[str, Any]:
    design, results = analysis.design, analysis.results
    lines: list[dict[str, Any]] = []
    metric, datasets, directions = "", set[str](), get_directions(analysis.frame)
    for value, cells in section.groupby(design.compared, sort=False, dropna=False)["cell"]:
        name = format_value(value)
        found = [results[cell] for cell in cells if cell in results]
        if name not in names or not found:
            continue
        datasets |= {result.cell.data for result in found}
        line, own = _make_line(found, len(cells), budget)
        metric = metric or own
        lines.append({"c": names.index(name), **line})
    empty = "" if lines else "No result yet"
    keys = list(dict.fromkeys(key for line in lines for key in line["m"]))
    for key in keys:
        higher = is_higher_better(_name_quantity(key, metric), directions)
        _mark_far([line["m"][key] for line in lines if key in line["m"]], higher_is_better=higher)
    return {
        "title": title,
        "lines": lines,
        "axes": {key: _name_axis(key, metric, datasets) for key in keys},
        "keys": keys,
        **({"empty": empty} if empty else {}),
    }


def _make_line(
    found: Sequence[Result], planned: int, budget: _Budget
) -> tuple[dict[str, Any], str]:
    """One condition's line of each column, and the name of the task's metric."""
    trained = [result for result in found if result.history]
    columns: dict[str, list[Column]] = {}
    metric = ""
    for history in iterate_histories(result.history for result in trained):
        names = [name for name in history if name != "seconds" and not is_signal_column(name)]
        task = (name for name in names if name != "loss" and not name.startswith("val_"))
        metric = metric or next(task, "")
        for name in names:
            columns.setdefault(name, []).append(np.asarray(history[name], dtype=np.float64))
    diverged = sum(result.outcome == "diverged" for result in found)
    stops = [len(run) for run, result in _zip_runs(columns, trained) if result.outcome != "ok"]
    made = {
        _rename(name, metric): _summarise_runs(runs, budget, has_mean=not diverged)
        for name, runs in columns.items()
        if any(len(run) for run in runs)
    }
    if stops and diverged:
        for line in made.values():
            line["stops"] = stops[:MAX_RUNS]
    return {"m": made, "planned": planned, "diverged": diverged}, metric


def _mark_far(lines: Sequence[dict[str, Any]], *, higher_is_better: bool) -> None:
    """Mark the means that are far worse than all others: they stand at the axis' edge."""
    drawn = [
        [value for name in ("y", "lo", "hi") for value in line.get(name, ()) if value is not None]
        for line in lines
    ]
    far = find_far(drawn, higher_is_better=higher_is_better)
    for line, is_far in zip(lines, far, strict=True):
        if is_far:
            line["far"] = -1 if higher_is_better else 1


def _zip_runs(
    columns: dict[str, list[Column]], trained: Sequence[Result]
) -> Iterator[tuple[Column, Result]]:
    runs = columns.get("loss") or next(iter(columns.values()), [])
    yield from zip(runs, trained, strict=False)


def _rename(name: str, metric: str) -> str:
    if name == metric:
        return _METRIC
    return f"val_{_METRIC}" if name == f"val_{metric}" else name


def _summarise_runs(runs: Sequence[Column], budget: _Budget, *, has_mean: bool) -> dict[str, Any]:
    """Mean and band over the epochs that all replicates have, and the single replicates."""
    line: dict[str, Any] = {"y": []}
    common = min(map(len, runs))
    if has_mean and common:
        stacked = np.stack([run[:common] for run in runs])
        places = pick_places(common, budget.points)
        mean, low, high = _compute_band(stacked[:, places])
        line["y"] = round_numbers(mean)
        if len(places) < common:
            line["x"] = [place + 1 for place in places]
        if len(runs) > 1:
            line |= {"lo": round_numbers(low), "hi": round_numbers(high)}
            line["kind"] = "interval" if len(runs) >= MIN_FOR_INTERVAL else "range"
    longest = max(map(len, runs))
    if len(runs) > 1 or not has_mean:
        kept = runs[: budget.runs] if budget.runs else ([] if has_mean else runs[:3])
        places = pick_places(longest, budget.points)
        line["runs"] = [round_numbers(run[[i for i in places if i < len(run)]]) for run in kept]
        line["rx"] = [place + 1 for place in places]
    return line


def _compute_band(stacked: Column) -> tuple[Column, Column, Column]:
    """Mean, and the ends of its interval, or of the range if the replicates are too few for one."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean = stacked.mean(axis=0)
        if len(stacked) < MIN_FOR_INTERVAL:
            return mean, stacked.min(axis=0), stacked.max(axis=0)
        n = len(stacked)
        quantile = float(special.stdtrit(n - 1, (1 + LEVEL) / 2))
        half = quantile * stacked.std(axis=0, ddof=1) / math.sqrt(n)
        return mean, mean - half, mean + half


def _list_choices(keys: dict[str, None]) -> list[dict[str, str]]:
    """The quantities to choose from, the validation metric first."""
    usual = (f"val_{_METRIC}", _METRIC, "val_loss", "loss")
    order = [key for key in usual if key in keys] + sorted(keys.keys() - set(usual))
    return [{"key": key, "title": _name_choice(key)} for key in order]


def _name_choice(key: str) -> str:
    words = {
        f"val_{_METRIC}": "validation metric",
        _METRIC: "training metric",
        "val_loss": "validation loss",
        "loss": "training loss",
    }
    return words.get(key) or escape_invisible(_name_column(key))


def _name_column(name: str) -> str:
    subset = "validation " if name.startswith("val_") else "training "
    return subset + format_title(name.removeprefix("val_"))


def _name_quantity(key: str, metric: str) -> str:
    """The column that a key stands for: ``val_accuracy``."""
    return key.replace(_METRIC, metric) if key.endswith(_METRIC) and metric else key


def _name_axis(key: str, metric: str, datasets: set[str]) -> str:
    """``validation accuracy``, ``training MAE ($)``."""
    column = _name_quantity(key, metric)
    units = {find_unit(dataset, column) for dataset in datasets}
    unit = units.pop() if len(units) == 1 else ""
    title = escape_invisible(_name_column(column))
    return f"{title} ({unit})" if unit else title


def _write_caption(
    frame: pd.DataFrame, compared: str, sections: int, names: int, *, has_far: bool
) -> str:
    most = int(frame["replicate"].nunique())
    band = ""
    if most >= MIN_FOR_INTERVAL:
        band = (
            "Lines are means over the replicates while all of them run; bands are 95 % intervals "
            f"of the mean (Student’s t) from {MIN_FOR_INTERVAL} replicates on, else the range."
        )
    elif most > 1:
        band = (
            "Lines are means over the replicates while all of them run; bands are the range of "
            "the replicates."
        )
    diverged = (
        "× marks the epoch in which a replicate diverged; then there is no mean."
        if (frame["outcome"] == "diverged").any()
        else ""
    )
    left_out = []
    if sections > MAX_PANELS:
        left_out.append(f"the first {MAX_PANELS} of {sections:,} panels")
    if names > MAX_LINES:
        left_out.append(f"the first {MAX_LINES} of {names:,} lines")
    return join_sentences(
        [
            f"One line for each {compared}; the legend switches lines off, and axes follow.",
            band,
            diverged,
            FAR_LINES if has_far else "",
            f"Shown: {' and '.join(left_out)}." if left_out else "",
        ]
    )
