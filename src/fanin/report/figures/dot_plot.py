"""Dot plot: a metric by category. Every replicate is a dot, beside their mean and interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import Condition
from fanin.analysis.factors import format_value
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.report.figures.axis_focus import select_focus
from fanin.report.figures.palette import LINE_COLOURS, QUIET, WARNING
from fanin.report.figures.panel_grid import (
    Header,
    PanelGrid,
    Spacing,
    arrange_panels,
    draw_empty_panels,
    make_header_lines,
    make_legend_line,
)
from fanin.report.figures.plot_axes import draw_grid, label_axis, set_metric_axis, style_axes
from fanin.report.figures.rendering import fit_text
from fanin.report.figures.scales import Scale, fit_metric_scale
from fanin.report.numbers import choose_number_format

MAX_CATEGORIES = 20

_COLOUR = LINE_COLOURS[0]

_ROW = 0.26
"""Height of a category, in inches."""

_SPACING = Spacing(width=2.5, height=1.0, gap_x=0.38, gap_y=0.58, right=0.3, bottom=0.45)

Conditions = Mapping[Any, Condition]
"""By value of what is compared."""


def draw_dot_plot(analysis: Analysis, *, metric: str | None = None) -> Figure:
    """Draw a row for each value of what is compared, and a panel for whatever else varies.

    Small dots are replicates. The large dot is their mean with its 95 % interval (Student's t, from
    5 replicates on). If a replicate diverged there is no mean: an open dot is the median with the
    diverged counted as worst, and a cross beside it says how many diverged. Conditions that are
    much worse than all others are an arrow at the edge, with their number.

    Args:
        analysis: what to draw.
        metric: a column of metrics; by default each panel's main test metric.
    """
    frame, design = analysis.frame, analysis.design
    grid = arrange_panels(frame, design, [design.compared], metric)
    names = list(dict.fromkeys(frame[design.compared]))
    categories = names[:MAX_CATEGORIES]
    drawn: dict[int, Conditions] = {
        id(panel): {
            key[0]: condition
            for key, condition in panel.estimate_conditions([design.compared])
            if key[0] in categories
        }
        for panel in grid.panels
    }
    conditions = [condition for panel in drawn.values() for condition in panel.values()]
    diverged = any(condition.diverged for condition in conditions)
    spacing = _measure_spacing(categories, grid, diverged=diverged)
    scales = _fit_scales(grid, drawn)
    compared = design.format_title(design.compared)
    lines = make_header_lines(grid, compared, len(names), MAX_CATEGORIES)
    if any(
        _is_beyond(condition, scales[panel.scale])
        for panel in grid.panels
        for condition in drawn[id(panel)].values()
    ):
        lines.append("◂ or ▸ and a number: far worse than all others, beyond the axis")
    header = Header(f"{grid.metric_title} by {compared}", lines, _make_legend(conditions))
    figure, placed = draw_empty_panels(grid, spacing, header)
    for panel, axes, row, column in placed:
        scale = scales[panel.scale]
        _draw_conditions(axes, drawn[id(panel)], categories, scale, panel.metric)
        _set_axes(axes, categories, scale, spacing, left=column == 0)
        below = grid.get(row + 1, column)
        if below is None or below.metric != panel.metric:
            label_axis(axes, "x", fit_text(panel.metric_axis, spacing.width + spacing.gap_x, 8))
    return figure


def _draw_conditions(
    axes: Axes, conditions: Conditions, categories: Sequence[Any], scale: Scale, metric: str
) -> None:
    for row, name in enumerate(categories):
        condition = conditions.get(name)
        if condition is None or not (condition.values or condition.diverged):
            _explain_empty_row(axes, row, condition)
            continue
        if _is_beyond(condition, scale):
            _mark_beyond(axes, row, condition, scale, metric)
        elif condition.planned == 1:
            rows = [row] * len(condition.values)
            axes.plot(condition.values, rows, marker="o", markersize=5, color=_COLOUR)
        else:
            _draw_replicates(axes, row, condition)
        if condition.diverged:
            _mark_diverged(axes, row, condition)


def _draw_replicates(axes: Axes, row: int, condition: Condition) -> None:
    heights = [row + 0.27 * (i % 3 - 1) / 2 + 0.18 for i in range(len(condition.values))]
    small: dict[str, Any] = {"marker": "o", "markersize": 2.4, "alpha": 0.45, "mew": 0}
    axes.plot(condition.values, heights, linestyle="none", color=_COLOUR, **small)
    if math.isfinite(condition.centre):
        axes.plot(condition.interval, [row - 0.16] * 2, color=_COLOUR, linewidth=1.8)
        axes.plot(
            [condition.centre],
            [row - 0.16],
            marker="o",
            markersize=5,
            markerfacecolor=_COLOUR if condition.is_mean else "white",
            markeredgecolor=_COLOUR,
        )


def _explain_empty_row(axes: Axes, row: int, condition: Condition | None) -> None:
    """Write why there is nothing in a row."""
    axes.text(
        0.02,
        row,
        "not in this study" if condition is None else "no result",
        transform=axes.get_yaxis_transform(),
        ha="left",
        va="center",
        fontsize=7,
        color=QUIET,
    )


def _is_beyond(condition: Condition, scale: Scale) -> bool:
    """Whether all replicates lie outside the axis."""
    return bool(condition.values) and all(
        not scale.low <= value <= scale.high for value in condition.values
    )


def _mark_beyond(axes: Axes, row: int, condition: Condition, scale: Scale, metric: str) -> None:
    """Write an arrow at the edge with the condition's number."""
    number = choose_number_format(metric, [condition.centre]).text(condition.centre)
    text = number if math.isfinite(condition.centre) else f"{len(condition.values)} runs"
    if condition.values[0] < scale.low:
        x, side, words = 0.02, "left", f"\N{BLACK LEFT-POINTING SMALL TRIANGLE} {text}"
    else:
        x, side, words = 0.98, "right", f"{text} \N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
    transform = axes.get_yaxis_transform()
    axes.text(x, row, words, transform=transform, ha=side, va="center", fontsize=7, color=_COLOUR)


def _mark_diverged(axes: Axes, row: int, condition: Condition) -> None:
    """Write a cross to the right of the panel, and how many replicates diverged."""
    axes.annotate(
        f"\N{MULTIPLICATION X} {condition.diverged}/{condition.planned}",
        (1, row),
        (4, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=7,
        color=WARNING,
        annotation_clip=False,
    )


def _set_axes(
    axes: Axes, categories: Sequence[Any], scale: Scale, spacing: Spacing, *, left: bool
) -> None:
    style_axes(axes)
    draw_grid(axes, "x")
    set_metric_axis(axes, scale, "x")
    labels = [fit_text(format_value(name), spacing.left - 0.15, 7.5) for name in categories]
    axes.set_yticks(range(len(categories)), labels)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
        label.set_color("black")
    axes.set_ylim(len(categories) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0, labelleft=left)
    for row in range(len(categories) - 1):
        axes.axhline(row + 0.5, color="#F0F0F0", linewidth=0.6, zorder=0)


def _fit_scales(grid: PanelGrid, drawn: Mapping[int, Conditions]) -> dict[tuple[Any, ...], Scale]:
    """The scale of each group of panels that share one."""
    groups: dict[tuple[Any, ...], list[list[float]]] = {}
    for panel in grid.panels:
        for condition in drawn[id(panel)].values():
            ends = [*condition.values, *condition.interval]
            finite = [value for value in ends if math.isfinite(value)]
            groups.setdefault(panel.scale, []).append(finite)
    scales = {}
    for panel in grid.panels:
        focus = select_focus(groups.get(panel.scale, []), higher_is_better=panel.higher_is_better)
        values = [value for condition in focus for value in condition]
        scales[panel.scale] = fit_metric_scale(panel.metric, values)
    return scales


def _measure_spacing(categories: Sequence[Any], grid: PanelGrid, *, diverged: bool) -> Spacing:
    """The spacing that leaves space for the categories' names and the counts of diverged."""
    longest = max((len(format_value(name)) for name in categories), default=1)
    spacing = _SPACING.enlarge_for(grid)
    beside = 0.62 if diverged else spacing.gap_x
    return replace(
        spacing,
        height=_ROW * len(categories) + 0.1,
        left=min(longest, 30) * 0.072 + 0.3,
        gap_x=beside,
        right=max(beside, spacing.right),
    )


def _make_legend(conditions: Sequence[Condition]) -> list[Line2D]:
    most = max((condition.planned for condition in conditions), default=1)
    small: dict[str, Any] = {"marker": "o", "markersize": 2.6, "linestyle": "none", "alpha": 0.6}
    legend = [make_legend_line("one replicate", color=_COLOUR, **small)]
    if most > 1:
        has_interval = most >= MIN_FOR_INTERVAL
        words = "mean, 95 % interval" if has_interval else "mean"
        line: dict[str, Any] = {
            "marker": "o",
            "markersize": 5,
            "linewidth": 1.8 if has_interval else 0,
        }
        legend.append(make_legend_line(words, color=_COLOUR, **line))
    if any(condition.diverged for condition in conditions):
        dot: dict[str, Any] = {
            "marker": "o",
            "markersize": 5,
            "markerfacecolor": "white",
            "linestyle": "none",
        }
        legend.append(make_legend_line("median, some diverged", color=_COLOUR, **dot))
        cross: dict[str, Any] = {"marker": "x", "markersize": 5.5, "linestyle": "none"}
        legend.append(make_legend_line("diverged, of all replicates", color=WARNING, **cross))
    return legend
