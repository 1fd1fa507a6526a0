"""Points: a metric by category, every replicate a dot, with its mean and interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import Condition, estimate_condition
from fanin.analysis.design import Design, group_rows
from fanin.analysis.factors import format_title, format_value
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.analysis.summary import get_directions, is_higher_better
from fanin.report.figures import axes as axis
from fanin.report.figures.curve_panel import QUIET, WARNING, Scale
from fanin.report.figures.panel_grid import (
    Facet,
    Head,
    Layout,
    Room,
    canvas,
    layout_of,
    legend_line,
)
from fanin.report.figures.rendering import fitted
from fanin.report.figures.response_curves import PALETTE, metric_scale
from fanin.report.numbers import choose_number_format

MAX_CATEGORIES = 20

_FAR = 3.0

_ROW = 0.26
"""Height of a category, in inches."""

_ROOM = Room(width=2.5, height=1.0, gap_x=0.38, gap_y=0.58, right=0.3, bottom=0.45)


def points(analysis: Analysis, *, metric: str | None = None) -> Figure:
    """The figure of an analysis: a row for each value of what is compared, a panel for
    whatever else varies.

    Small dots are replicates, the large one is their mean with its 95 % interval (Student's t, from
    5 replicates on). Where a replicate diverged there is no mean: an open dot is the median with
    the diverged counted as worst, and a cross beside it says how many diverged. Conditions much
    worse than all others stand at the edge with an arrow and their number.

    Args:
        analysis: what to draw.
        metric: a column of metrics; by default each panel's main test metric.
    """
    frame, design = analysis.frame, analysis.design
    layout = layout_of(frame, design, [design.compared], metric)
    names = list(dict.fromkeys(frame[design.compared]))
    shown = names[:MAX_CATEGORIES]
    found = {id(facet): _conditions(facet, design.compared, shown, frame) for facet in layout.all}
    every = [condition for conditions in found.values() for condition in conditions.values()]
    room = _room(shown, layout, diverged=any(condition.diverged for condition in every))
    scales = _scales(layout, found, get_directions(frame))
    below = _below(layout, names, design)
    if any(
        _beyond(condition, scales[facet.scale])
        for facet in layout.all
        for condition in found[id(facet)].values()
    ):
        below.append("◂ or ▸ and a number: far worse than all others, beyond the axis")
    figure, placed = canvas(layout, room, Head(_title(layout, design), below, _legend(every)))
    for facet, axes, i, j in placed:
        _draw(axes, found[id(facet)], shown, scales[facet.scale], facet.metric)
        _finish(axes, shown, scales[facet.scale], room, left=j == 0)
        under = layout.facets[i + 1][j] if i + 1 < len(layout.facets) else None
        if under is None or under.metric != facet.metric:
            axes.set_xlabel(
                format_title(facet.metric), fontsize=8, color=QUIET, labelpad=2, parse_math=False
            )
    return figure


def _conditions(
    facet: Facet, compared: str, shown: Sequence[Any], frame: pd.DataFrame
) -> dict[Any, Condition]:
    higher = is_higher_better(facet.metric, get_directions(frame))
    return {
        key[0]: estimate_condition(rows, facet.metric, higher_is_better=higher)
        for key, rows in group_rows(facet.rows, [compared])
        if key[0] in shown
    }


def _draw(
    axes: Axes, conditions: Mapping[Any, Condition], shown: Sequence[Any], scale: Scale, metric: str
) -> None:
    for row, name in enumerate(shown):
        condition = conditions.get(name)
        if condition is None:
            continue
        if _beyond(condition, scale):
            _mark_beyond(axes, row, condition, scale, metric)
        elif condition.planned == 1:
            axes.plot(
                condition.values,
                [row] * len(condition.values),
                marker="o",
                markersize=5,
                color=PALETTE[0],
            )
        else:
            _draw_replicates(axes, row, condition)
        if condition.diverged:
            _mark_diverged(axes, row, condition)


def _draw_replicates(axes: Axes, row: int, condition: Condition) -> None:
    colour = PALETTE[0]
    heights = [row + 0.27 * (i % 3 - 1) / 2 + 0.18 for i in range(len(condition.values))]
    axes.plot(
        condition.values,
        heights,
        marker="o",
        markersize=2.4,
        linestyle="none",
        color=colour,
        alpha=0.45,
        mew=0,
    )
    if math.isfinite(condition.centre):
        half = condition.half_width if math.isfinite(condition.half_width) else 0.0
        axes.plot(
            [condition.centre - half, condition.centre + half],
            [row - 0.16] * 2,
            color=colour,
            linewidth=1.8,
        )
        fill = colour if condition.is_mean else "white"
        axes.plot(
            [condition.centre],
            [row - 0.16],
            marker="o",
            markersize=5,
            markerfacecolor=fill,
            markeredgecolor=colour,
        )


def _beyond(condition: Condition, scale: Scale) -> bool:
    return bool(condition.values) and all(
        not scale.low <= value <= scale.high for value in condition.values
    )


def _mark_beyond(axes: Axes, row: int, condition: Condition, scale: Scale, metric: str) -> None:
    """An arrow at the edge with the number, for a condition that would squeeze all others together."""
    number = choose_number_format(metric, [condition.centre]).text(condition.centre)
    text = number if math.isfinite(condition.centre) else f"{len(condition.values)} runs"
    left = condition.values[0] < scale.low
    at, ha, words = (0.02, "left", f"\N{BLACK LEFT-POINTING SMALL TRIANGLE} {text}") if left else (
        0.98, "right", f"{text} \N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
    )  # fmt: skip
    beside = axes.get_yaxis_transform()
    axes.text(at, row, words, transform=beside, ha=ha, va="center", fontsize=7, color=PALETTE[0])


def _mark_diverged(axes: Axes, row: int, condition: Condition) -> None:
    """A cross to the right of the panel, and how many."""
    beside = axes.get_yaxis_transform()
    share = f"{condition.diverged}/{condition.planned}"
    axes.annotate(
        f"\N{MULTIPLICATION X} {share}", (1, row), (4, 0), xycoords=beside, textcoords="offset points", ha="left", va="center",
        fontsize=7, color=WARNING, annotation_clip=False,
    )  # fmt: skip


def _finish(axes: Axes, shown: Sequence[Any], scale: Scale, room: Room, *, left: bool) -> None:
    axis.prepare(axes)
    axis.grid(axes, "x")
    axis.metric_axis(axes, scale, "x")
    axes.set_yticks(
        range(len(shown)), [fitted(format_value(name), room.left - 0.15, 7.5) for name in shown]
    )
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
        label.set_color("black")
    axes.set_ylim(len(shown) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0, labelleft=left)
    for row in range(len(shown) - 1):
        axes.axhline(row + 0.5, color="#F0F0F0", linewidth=0.6, zorder=0)


def _scales(
    layout: Layout, found: Mapping[int, Mapping[Any, Condition]], directions: Mapping[str, str]
) -> dict[tuple[Any, ...], Scale]:
    together: dict[tuple[Any, ...], list[list[float]]] = {}
    for facet in layout.all:
        for condition in found[id(facet)].values():
            half = condition.half_width if math.isfinite(condition.half_width) else 0.0
            ends = [*condition.values, condition.centre - half, condition.centre + half]
            together.setdefault(facet.scale, []).append(
                [value for value in ends if math.isfinite(value)]
            )
    scales = {}
    for facet in layout.all:
        higher = is_higher_better(facet.metric, directions)
        kept = _in_focus(together.get(facet.scale, []), higher_is_better=higher)
        scales[facet.scale] = metric_scale(
            facet.metric, [value for values in kept for value in values]
        )
    return scales


def _in_focus(conditions: Sequence[list[float]], *, higher_is_better: bool) -> list[list[float]]:
    """The conditions that set the axis: all, unless at most a third are so much worse that the rest
    could not be told apart.

    Much worse is a distance to the rest of more than `_FAR` times the range that the rest takes.
    """
    sign = 1 if higher_is_better else -1
    ranked = sorted(
        (values for values in conditions if values),
        key=lambda values: sign * statistics.median(values),
    )
    for worse in range(len(ranked) // 3, 0, -1):
        rest = [sign * value for values in ranked[worse:] for value in values]
        bad = [sign * value for values in ranked[:worse] for value in values]
        if min(rest) - max(bad) > _FAR * (max(rest) - min(rest)):
            return ranked[worse:]
    return list(conditions)


def _room(shown: Sequence[Any], layout: Layout, *, diverged: bool) -> Room:
    longest = max((len(format_value(name)) for name in shown), default=1)
    room = _ROOM.fitting(layout)
    left = min(longest, 30) * 0.072 + 0.3
    beside = 0.62 if diverged else room.gap_x
    return replace(
        room, height=_ROW * len(shown) + 0.1, left=left, gap_x=beside, right=max(beside, room.right)
    )


def _title(layout: Layout, design: Design) -> str:
    what = format_title(layout.metrics[0]) if len(layout.metrics) == 1 else "test metric"
    return f"{what[:1].upper()}{what[1:]} by {design.format_title(design.compared)}"


def _below(layout: Layout, names: Sequence[Any], design: Design) -> list[str]:
    said = [layout.subtitle] if layout.subtitle else []
    if len(names) > MAX_CATEGORIES:
        said.append(
            f"the first {MAX_CATEGORIES} of {len(names)} values of {design.format_title(design.compared)}"
        )
    return said


def _legend(conditions: Sequence[Condition]) -> list[Line2D]:
    colour, most = PALETTE[0], max((condition.planned for condition in conditions), default=1)
    legend = [
        legend_line(
            "one replicate", color=colour, marker="o", markersize=2.6, linestyle="none", alpha=0.6
        )
    ]
    if most > 1:
        words = "mean, 95 % interval" if most >= MIN_FOR_INTERVAL else "mean"
        legend.append(
            legend_line(
                words, color=colour, marker="o", markersize=5, linewidth=1.8 if most >= 5 else 0
            )
        )
    if any(condition.diverged for condition in conditions):
        open_dot = {"marker": "o", "markersize": 5, "markerfacecolor": "white", "linestyle": "none"}
        legend.append(legend_line("median, some diverged", color=colour, **open_dot))
        legend.append(
            legend_line(
                "diverged, of all replicates",
                color=WARNING,
                marker="x",
                markersize=5.5,
                linestyle="none",
            )
        )
    return legend
