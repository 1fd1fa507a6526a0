"""Response: a metric against a numeric factor, a line for each value of what is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import Condition, estimate_condition
from fanin.analysis.design import Design, group_rows, is_numeric
from fanin.analysis.factors import format_title, is_number
from fanin.analysis.summary import get_directions, is_higher_better
from fanin.report.figures import axes as axis
from fanin.report.figures.curve_panel import QUIET, WARNING, Scale, scale_of
from fanin.report.figures.panel_grid import (
    Facet,
    Head,
    Layout,
    Room,
    canvas,
    layout_of,
    legend_line,
)

MAX_LINES = 10

# Okabe and Ito's palette without its yellow, which is too faint on white; told apart by
# colour-blind readers, and by markers.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7A3E5D",
    "#767676",
    "#8C6D31",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "p", "h", "<", ">")

_DODGE = 0.008
"""Share of an axis by which the lines' points stand apart."""

_STRIP_LINE = 0.1
"""Height of a line's row in the strip of diverged replicates, in inches."""

_ROOM = Room(width=2.9, height=2.0, gap_x=0.32)


@dataclass(frozen=True)
class Style:
    """How one line looks."""

    colour: str
    marker: str


Line = list[tuple[float, Condition]]


def response(
    analysis: Analysis,
    factor: str,
    *,
    lines: str | None = None,
    metric: str | None = None,
) -> Figure:
    """The figure of an analysis.

    A point is the mean over the replicates, its bar the 95 % interval (Student's t, from 5
    replicates on). Where a replicate diverged there is no mean: an open point is the median with
    the diverged counted as worst, reached by a dotted line, and crosses below the panel show the
    share that diverged.

    Args:
        analysis: what to draw.
        factor: the numeric factor on the horizontal axis; logarithmic where its values span a
            factor of 30 or are spaced so.
        lines: the factor whose values are the lines; by default what the design compares.
        metric: a column of metrics; by default each panel's main test metric.
    """
    frame, design = analysis.frame, analysis.design
    frame = frame[frame[factor].map(is_number)]
    lined = lines or design.compared
    compared = lined if lined != factor else None
    layout = layout_of(frame, design, [factor, *([compared] if compared else [])], metric)
    names = list(dict.fromkeys(frame[compared])) if compared else [""]
    styles = _styles(frame, compared, names[:MAX_LINES])
    drawn = {id(facet): _lines(facet, factor, compared, styles, frame) for facet in layout.all}
    diverged = any(
        condition.diverged
        for found in drawn.values()
        for line in found.values()
        for _, condition in line
    )
    strip = 0.12 + _STRIP_LINE * len(styles) if diverged else 0.0
    room = _ROOM.fitting(layout)
    room = replace(room, gap_y=room.gap_y + strip + 0.12, bottom=room.bottom + strip)
    head = Head(
        _title(layout, factor, design),
        _lines_below(layout, lined, design, names),
        _legend(styles, lined, design, diverged),
    )
    figure, placed = canvas(layout, room, head)
    values = sorted({float(value) for value in frame[factor]})
    log = axis.is_logarithmic(values)
    scales = _scales(layout, drawn)
    for facet, axes, i, j in placed:
        _draw(axes, drawn[id(facet)], styles, values, log=log)
        _finish(axes, scales[facet.scale], values, room, log=log)
        _label(axes, facet, layout, i, j)
        below = (
            _strip(figure, axes, drawn[id(facet)], styles, strip, values, log=log)
            if diverged
            else axes
        )
        if diverged and not j:
            below.set_ylabel(
                "diverged",
                fontsize=6.5,
                color=QUIET,
                rotation=0,
                ha="right",
                va="center",
                labelpad=4,
            )
        below.set_xlabel(
            _axis_title(design, factor, log), fontsize=8, color=QUIET, labelpad=2, parse_math=False
        )
    return figure


def _styles(frame: pd.DataFrame, compared: str | None, names: Sequence[Any]) -> dict[Any, Style]:
    """Words get the palette's colours; numbers a scale from dark to light, so that their order is
    seen.
    """
    if compared and len(names) > 2 and is_numeric(frame, compared):
        ordered = sorted(names, key=lambda name: (not is_number(name), name))
        shades = [
            to_hex(colormaps["viridis"](0.85 * i / (len(ordered) - 1))) for i in range(len(ordered))
        ]
        return {name: Style(shades[i], MARKERS[i]) for i, name in enumerate(ordered)}
    return {name: Style(PALETTE[i], MARKERS[i]) for i, name in enumerate(names)}


def _lines(
    facet: Facet,
    factor: str,
    compared: str | None,
    styles: Mapping[Any, Style],
    frame: pd.DataFrame,
) -> dict[Any, Line]:
    higher = is_higher_better(facet.metric, get_directions(frame))
    found: dict[Any, Line] = {}
    for key, rows in group_rows(facet.rows, [*([compared] if compared else []), factor]):
        name = key[0] if compared else ""
        if name in styles:
            condition = estimate_condition(rows, facet.metric, higher_is_better=higher)
            found.setdefault(name, []).append((float(key[-1]), condition))
    return {name: sorted(line, key=lambda point: point[0]) for name, line in found.items()}


def _draw(
    axes: Axes,
    lines: Mapping[Any, Line],
    styles: Mapping[Any, Style],
    values: Sequence[float],
    *,
    log: bool,
) -> None:
    for number, (name, style) in enumerate(styles.items()):
        line = lines.get(name, [])
        x = [_dodged(x, number, len(styles), values, log=log) for x, _ in line]
        y = [condition.centre for _, condition in line]
        means = [condition.centre if condition.is_mean else math.nan for _, condition in line]
        half = [condition.half_width for _, condition in line]
        axes.plot(x, y, color=style.colour, linewidth=1.0, linestyle=":")
        axes.errorbar(
            x, means, yerr=half, color=style.colour, linewidth=1.3, elinewidth=1.0, zorder=3
        )
        for at, (_, condition) in zip(x, line, strict=True):
            fill = style.colour if condition.is_mean else "white"
            axes.plot(
                [at], [condition.centre], marker=style.marker, markersize=4.2, linestyle="none", zorder=4,
                markerfacecolor=fill, markeredgecolor=style.colour, markeredgewidth=1.0, clip_on=False,
            )  # fmt: skip


def _strip(
    figure: Figure,
    axes: Axes,
    lines: Mapping[Any, Line],
    styles: Mapping[Any, Style],
    inches: float,
    values: Sequence[float],
    *,
    log: bool,
) -> Axes:
    """Below a panel: a row for each line, a cross where replicates diverged, as large as their
    share.
    """
    box, height = axes.get_position(), figure.get_figheight()
    below = figure.add_axes(
        (box.x0, box.y0 - (inches + 0.02) / height, box.width, (inches - 0.06) / height)
    )
    axis.prepare(below)
    for number, (name, style) in enumerate(styles.items()):
        for x, condition in lines.get(name, []):
            if condition.diverged:
                at = _dodged(x, number, len(styles), values, log=log)
                size = 2.5 + 3.5 * condition.diverged_share
                below.plot(
                    [at],
                    [number],
                    marker="X",
                    markersize=size,
                    color=style.colour,
                    markeredgewidth=0,
                    clip_on=False,
                )
    below.set_xscale(axes.get_xscale())
    axis.factor_axis(below, values, "x", box.width * figure.get_figwidth(), log=log)
    below.set_xlim(axes.get_xlim())
    below.set_ylim(len(styles) - 0.4, -0.6)
    below.set_yticks([])
    below.set_facecolor("#F7F7F7")
    axes.tick_params(axis="x", labelbottom=False)
    return below


def _finish(axes: Axes, scale: Scale, values: Sequence[float], room: Room, *, log: bool) -> None:
    axis.prepare(axes)
    axis.grid(axes)
    axis.factor_axis(axes, values, "x", room.width, log=log)
    low, high = values[0], values[-1]
    if log:
        margin = (high / low) ** 0.05 if high > low else 2.0
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = 0.05 * (high - low) or 0.5
        axes.set_xlim(low - margin, high + margin)
    axis.metric_axis(axes, scale, "y")


def _label(axes: Axes, facet: Facet, layout: Layout, i: int, j: int) -> None:
    """The metric's name and ticks where a scale begins: panels to the right that share it need
    none.
    """
    before = layout.facets[i][j - 1] if j else None
    if before is not None and before.scale == facet.scale:
        axes.tick_params(axis="y", labelleft=False)
    elif len(layout.metrics) > 1 or not j:
        axes.set_ylabel(
            format_title(facet.metric), fontsize=8, color=QUIET, labelpad=2, parse_math=False
        )


def _scales(
    layout: Layout, lines: Mapping[int, Mapping[Any, Line]]
) -> dict[tuple[Any, ...], Scale]:
    ends: dict[tuple[Any, ...], list[float]] = {}
    for facet in layout.all:
        for line in lines[id(facet)].values():
            for _, condition in line:
                half = condition.half_width if math.isfinite(condition.half_width) else 0.0
                found = [condition.centre - half, condition.centre + half]
                ends.setdefault(facet.scale, []).extend(
                    value for value in found if math.isfinite(value)
                )
    return {
        facet.scale: metric_scale(facet.metric, ends.get(facet.scale, [])) for facet in layout.all
    }


def metric_scale(metric: str, values: list[float]) -> Scale:
    """The scale of a metric; a share is read on a linear one."""
    return scale_of(values, may_be_log=not metric.endswith("accuracy"))


def _dodged(x: float, number: int, lines: int, values: Sequence[float], *, log: bool) -> float:
    """The place of a line's point beside those of the others."""
    share = _DODGE * (number - (lines - 1) / 2)
    low, high = values[0], values[-1]
    return x * (high / low) ** share if log else x + share * (high - low)


def _title(layout: Layout, factor: str, design: Design) -> str:
    what = format_title(layout.metrics[0]) if len(layout.metrics) == 1 else "test metric"
    return f"{what[:1].upper()}{what[1:]} by {design.format_title(factor)}"


def _lines_below(layout: Layout, lined: str, design: Design, names: Sequence[Any]) -> list[str]:
    said = [layout.subtitle] if layout.subtitle else []
    if len(names) > MAX_LINES:
        said.append(f"the first {MAX_LINES} of {len(names)} values of {design.format_title(lined)}")
    return said


def _legend(
    styles: Mapping[Any, Style], lined: str, design: Design, diverged: bool
) -> list[Line2D]:
    named = [] if list(styles) == [""] else list(styles.items())
    legend = [
        legend_line(
            design.name_value(lined, name),
            color=style.colour,
            marker=style.marker,
            markersize=4.5,
            linewidth=1.3,
        )
        for name, style in named
    ]
    if diverged:
        quiet: dict[str, Any] = {"color": QUIET, "linestyle": "none"}
        legend.append(
            legend_line(
                "median, some diverged",
                marker="o",
                markersize=4.5,
                markerfacecolor="white",
                **quiet,
            )
        )
        legend.append(
            legend_line(
                "diverged (size: share)",
                marker="X",
                markersize=5.5,
                color=WARNING,
                linestyle="none",
            )
        )
    return legend


def _axis_title(design: Design, factor: str, log: bool) -> str:
    return f"{design.format_title(factor)} (log)" if log else design.format_title(factor)
