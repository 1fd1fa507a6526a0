"""The figures of conditions: a metric by numeric factor, by category, or over two factors.

They are those of `fanin.report.figures.study_figures`, with the same panels and numbers, as data
for the page's script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import Condition
from fanin.analysis.factors import format_value, is_number
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.analysis.summary import find_main_metric
from fanin.report.escaping import escape_invisible
from fanin.report.figures.axis_focus import select_focus
from fanin.report.figures.panel_grid import Panel, PanelGrid, arrange_panels
from fanin.report.figures.response_curves import MAX_LINES
from fanin.report.figures.scales import FactorScale
from fanin.report.figures.study_figures import choose_figures
from fanin.report.sections.heat_figure import make_heat_figure
from fanin.report.sections.page_figure import (
    PageFigure,
    join_sentences,
    name_values,
    round_number,
    round_numbers,
)

MAX_CATEGORIES = 40
MAX_POINTS = 12
"""Single replicates of a category."""


def make_condition_figures(analysis: Analysis) -> list[PageFigure]:
    """The figures that fit what the study varies, as `choose_figures` says."""
    if analysis.is_empty or find_main_metric(analysis.frame) is None:
        return []
    made = []
    for choice in choose_figures(analysis):
        if choice.kind == "response":
            made.append(_make_response_figure(analysis, choice.x, choice.lines))
        elif choice.kind == "heat":
            made.append(make_heat_figure(analysis, choice.x, choice.y, choice.overlays))
        else:
            made.append(_make_dot_figure(analysis))
    return made


def describe_spread(analysis: Analysis) -> str:
    """What dots and bars are, for a caption."""
    most = int(analysis.frame["replicate"].nunique())
    if most == 1:
        return "One replicate each: differences may be chance."
    if most < MIN_FOR_INTERVAL:
        return f"Means over the replicates; an interval needs {MIN_FOR_INTERVAL} of them."
    return "Means with their 95 % intervals (Student’s t over replicates)."


def describe_divergence(analysis: Analysis) -> str:
    """What open marks and crosses are, for a caption; empty if nothing diverged."""
    if not (analysis.frame["outcome"] == "diverged").any():
        return ""
    return (
        "If replicates diverged there is no mean: an open mark is the median with the diverged "
        "counted as worst, × marks where some diverged."
    )


def describe_panels(grid: PanelGrid, shown: int, total: int, what: str) -> str:
    """How many panels or lines are left out, for a caption; empty if none."""
    left_out = [grid.describe_omissions()]
    if shown < total:
        left_out.append(f"Shown: the first {shown} of {total:,} values of {what}.")
    return join_sentences(left_out)


def _make_response_figure(analysis: Analysis, factor: str, lines: str | None) -> PageFigure:
    """A metric against a numeric factor, a line for each value of another."""
    design = analysis.design
    frame = analysis.frame[analysis.frame[factor].map(is_number)]
    wanted = lines or design.compared
    compared = wanted if wanted != factor else None
    grid = arrange_panels(frame, design, [factor, *([compared] if compared else [])])
    values = list(dict.fromkeys(frame[compared])) if compared else [""]
    shown = values[:MAX_LINES]
    ticks = sorted({float(value) for value in frame[factor]})
    scale = FactorScale.choose(ticks)
    title = f"{grid.metric_title} by {design.format_title(factor)}"
    # On a logarithmic axis, 0 stands one decade below the least value, as in printed figures.
    at = {x: x if x or not scale.smallest else scale.smallest / 10 for x in ticks}
    panels = [
        {
            "title": escape_invisible(panel.title),
            "axes": {"y": escape_invisible(panel.metric_axis)},
            "lines": _make_response_lines(panel, factor, compared, shown, at),
        }
        for panel in grid.panels
    ]
    words = escape_invisible(scale.format_title(design.format_title(factor)))
    named = (lambda value: design.name_value(wanted, value)) if compared else str
    data = {
        "kind": "lines",
        "names": name_values(shown, named) if compared else [grid.metric_title],
        "axis": {"title": words, "log": scale.log},
        "ticks": [round_number(at[x]) for x in ticks],
        "metrics": [{"key": "y", "title": grid.metric_title}],
        "panels": panels,
        "legend": compared is not None,
        "marks": True,
    }
    caption = join_sentences(
        [
            describe_spread(analysis),
            describe_divergence(analysis),
            "The leftmost place of the axis is 0." if scale.smallest else "",
            describe_panels(grid, len(shown), len(values), design.format_title(wanted)),
        ]
    )
    return PageFigure(escape_invisible(title), caption, data)


def _make_response_lines(
    panel: Panel, factor: str, compared: str | None, shown: Sequence[Any], at: Mapping[float, float]
) -> list[dict[str, Any]]:
    found: dict[Any, list[tuple[float, Condition]]] = {}
    for key, condition in panel.estimate_conditions([*([compared] if compared else []), factor]):
        found.setdefault(key[0] if compared else "", []).append((at[float(key[-1])], condition))
    lines = []
    for value, points in found.items():
        if value not in shown:
            continue
        points.sort(key=lambda point: point[0])
        conditions = [condition for _, condition in points]
        has_interval = any(math.isfinite(condition.half_width) for condition in conditions)
        line: dict[str, Any] = {
            "x": round_numbers([x for x, _ in points]),
            "y": round_numbers([condition.centre for condition in conditions]),
        }
        if has_interval:
            line["lo"] = round_numbers([condition.interval[0] for condition in conditions])
            line["hi"] = round_numbers([condition.interval[1] for condition in conditions])
            line["kind"] = "interval"
        if any(condition.diverged for condition in conditions):
            line["open"] = [not condition.is_mean for condition in conditions]
            line["lost"] = [condition.diverged for condition in conditions]
        lines.append({"c": list(shown).index(value), "m": {"y": line}})
    return lines


def _make_dot_figure(analysis: Analysis) -> PageFigure:
    """A row for each value of what is compared, a panel for whatever else varies."""
    frame, design = analysis.frame, analysis.design
    grid = arrange_panels(frame, design, [design.compared])
    values = list(dict.fromkeys(frame[design.compared]))
    shown = values[:MAX_CATEGORIES]
    compared = design.format_title(design.compared)
    panels = [_make_dot_panel(panel, frame, design.compared, shown) for panel in grid.panels]
    has_far = any(row.get("far") for panel in panels for row in panel["rows"])
    caption = join_sentences(
        [
            describe_spread(analysis),
            "Small dots are single replicates." if frame["replicate"].nunique() > 1 else "",
            describe_divergence(analysis),
            "A triangle at the edge: far worse than all others, beyond the axis."
            if has_far
            else "",
            describe_panels(grid, len(shown), len(values), compared),
        ]
    )
    data = {
        "kind": "dots",
        "names": name_values(shown, format_value),
        "panels": panels,
        "legend": True,
    }
    return PageFigure(escape_invisible(f"{grid.metric_title} by {compared}"), caption, data)


def _make_dot_panel(
    panel: Panel, frame: pd.DataFrame, compared: str, shown: Sequence[Any]
) -> dict[str, Any]:
    found = {key[0]: condition for key, condition in panel.estimate_conditions([compared])}
    conditions = {value: found[value] for value in shown if value in found}
    finite = [list(c.values) for c in conditions.values() if c.values]
    focus = [
        value
        for part in select_focus(finite, higher_is_better=panel.higher_is_better)
        for value in part
    ]
    low, high = (min(focus), max(focus)) if focus else (-math.inf, math.inf)
    rows = [
        _make_dot_row(list(shown).index(value), condition, low, high)
        for value, condition in conditions.items()
    ]
    return {
        "title": escape_invisible(panel.title),
        "axis": escape_invisible(panel.metric_axis),
        "rows": rows,
    }


def _make_dot_row(number: int, condition: Condition, low: float, high: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "c": number,
        "y": round_number(condition.centre),
        "planned": condition.planned,
    }
    if math.isfinite(condition.half_width):
        row |= dict(zip(("lo", "hi"), round_numbers(condition.interval), strict=True))
    if condition.planned > 1:
        row["points"] = round_numbers(condition.values[:MAX_POINTS])
    if condition.diverged:
        row |= {"diverged": condition.diverged, "open": True}
    if condition.values and not any(low <= value <= high for value in condition.values):
        row["far"] = 1 if min(condition.values) > high else -1
    return row
