"""Overlaid curves: the mean training curves of all compared values in one panel, a colour each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fanin import atomic
from fanin.analysis import statistics
from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design, group_rows
from fanin.analysis.factors import format_title, format_value
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.cell.result import Result
from fanin.report.figures.axis_focus import find_far
from fanin.report.figures.gathered_curves import (
    Column,
    GatheredCurves,
    gather_curves,
)
from fanin.report.figures.metric_titles import find_common_unit
from fanin.report.figures.palette import LINE_COLOURS, QUIET
from fanin.report.figures.panel_grid import (
    Header,
    Panel,
    PanelGrid,
    PlacedPanel,
    Spacing,
    arrange_panels,
    draw_empty_panels,
    make_header_lines,
    make_legend_line,
)
from fanin.report.figures.plot_axes import draw_grid, label_axis, set_metric_axis, style_axes
from fanin.report.figures.rendering import break_text, draw_message, draw_once, parse_format, render
from fanin.report.figures.scales import Extent, Scale, fit_extent
from fanin.report.numbers import choose_number_format
from fanin.report.tables import notes

MAX_LINES = len(LINE_COLOURS)

MAX_REPLICATES = 30
"""The most replicates of a condition that are drawn."""

_LOG_SPAN = 10.0
"""Ratio of the largest to the smallest mean from which a loss has a logarithmic axis."""

_SPACING = Spacing(width=2.7, height=1.9, left=0.8, gap_x=0.55)


@dataclass(frozen=True)
class CurveBand:
    """The mean curve of a condition with its band, over the epochs that all replicates trained."""

    middle: Column
    low: Column
    high: Column
    replicates: tuple[Column, ...]
    """What is drawn instead if a replicate diverged, which leaves no mean."""

    @property
    def has_mean(self) -> bool:
        return not self.replicates


def write_overlaid_curves(analysis: Analysis, path: str | Path) -> Path:
    """Write the overlaid curves as PNG, PDF or SVG, by the suffix of the path.

    A panel per section: epochs on the horizontal axis, on the vertical one the metric on validation
    data (or the loss, if it is all there is). A line is the mean over replicates, its band the 95 %
    interval of the mean (Student's t, from 5 replicates on) or the range of fewer. If a replicate
    diverged there is no mean: its condition is drawn as thin lines, one per replicate. A mean that
    is far worse than all others is a triangle at the edge, with its last value.
    """
    image = render_overlaid_curves(analysis, parse_format(path))
    return atomic.write(path, image, create_parent=True)


@draw_once
def render_overlaid_curves(analysis: Analysis, kind: str) -> bytes:
    """The bytes that `write_overlaid_curves` writes."""
    return render(draw_overlaid_curves(analysis), kind)


def draw_overlaid_curves(analysis: Analysis) -> Figure:
    """The figure that `write_overlaid_curves` writes; a message if there are no curves."""
    frame, design = analysis.frame, analysis.design
    grid = arrange_panels(frame, design, [design.compared])
    curves = {id(panel): _gather(panel, design, analysis.results) for panel in grid.panels}
    if not any(item.trained for panel in curves.values() for item in panel.values()):
        return draw_message(notes.describe_empty(frame))
    names = list(dict.fromkeys(map(format_value, frame[design.compared])))
    colours = dict(zip(names, LINE_COLOURS, strict=False))
    spacing = _SPACING.enlarge_for(grid)
    lines = make_header_lines(grid, design.format_title(design.compared), len(names), MAX_LINES)
    if (most := notes.count_most_replicates(frame, design)) > MAX_REPLICATES:
        lines.append(f"the first {MAX_REPLICATES} of {most:,} replicates")
    header = Header(
        "Mean training curves",
        lines,
        _make_legend(colours, [item for panel in curves.values() for item in panel.values()]),
    )
    figure, placed = draw_empty_panels(grid, spacing, header)
    for place in placed:
        _draw_panel(place, curves[id(place.panel)], colours, spacing, grid)
    return figure


def compute_band(curves: GatheredCurves, column: str) -> CurveBand | None:
    """The mean of a column of histories with its band; None if no replicate has the column."""
    lines = curves.lines.get(column)
    if lines is None or not lines.shown:
        return None
    if curves.finished < curves.trained:
        nothing = np.zeros(0)
        return CurveBand(nothing, nothing, nothing, tuple(lines.shown))
    common = min(map(len, lines.shown))
    stack = np.array([shown[:common] for shown in lines.shown])
    middle = stack.mean(axis=0)
    if len(stack) >= MIN_FOR_INTERVAL:
        half = np.array([statistics.estimate(values).half_width for values in stack.T])
        return CurveBand(middle, middle - half, middle + half, ())
    return CurveBand(middle, stack.min(axis=0), stack.max(axis=0), ())


def _gather(
    panel: Panel, design: Design, results: Mapping[str, Result]
) -> dict[str, GatheredCurves]:
    """Compared value → the curves of its first replicates."""
    return {
        format_value(value): gather_curves(
            [results[cell] for cell in rows["cell"] if cell in results][:MAX_REPLICATES]
        )
        for (value,), rows in group_rows(panel.frame, [design.compared])
    }


def _draw_panel(
    place: PlacedPanel,
    curves: Mapping[str, GatheredCurves],
    colours: Mapping[str, str],
    spacing: Spacing,
    grid: PanelGrid,
) -> None:
    panel, axes, row, column = place
    metric = next((item.metric for item in curves.values() if item.metric), "loss")
    shown = f"val_{metric}"
    bands = {
        name: band
        for name in colours
        if name in curves and (band := compute_band(curves[name], shown)) is not None
    }
    far = _find_far(bands, higher_is_better=panel.higher_is_better)
    near = {name: band for name, band in bands.items() if name not in far}
    for name, band in near.items():
        _draw_band(axes, band, colours[name])
    style_axes(axes)
    draw_grid(axes)
    scale = _fit_scale(shown, list(near.values()))
    set_metric_axis(axes, scale, "y")
    for number, name in enumerate(far):
        _mark_far(axes, number, colours[name], shown, bands[name], below=panel.higher_is_better)
    drawn = [column for band in near.values() for column in (band.middle, *band.replicates)]
    epochs = max(map(len, drawn), default=1)
    axes.set_xlim(1 - min(0.03 * epochs, 0.5), max(epochs, 2))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=2))
    before = grid.get(row, column - 1)
    if before is None or before.metric != panel.metric:
        title = scale.format_title(format_title(shown), find_common_unit(shown, {panel.dataset}))
        label_axis(axes, "y", break_text(title, spacing.height + 0.3, 8))
    if grid.get(row + 1, column) is None:
        label_axis(axes, "x", "epoch")


def _draw_band(axes: Axes, band: CurveBand, colour: str) -> None:
    for replicate in band.replicates:
        finite = np.where(np.isfinite(replicate), replicate, math.nan)
        axes.plot(np.arange(1, len(finite) + 1), finite, color=colour, linewidth=0.5, alpha=0.5)
    if band.has_mean:
        epochs = np.arange(1, len(band.middle) + 1)
        axes.fill_between(epochs, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        marker = "." if len(epochs) == 1 else ""
        axes.plot(epochs, band.middle, color=colour, linewidth=1.4, marker=marker)


def _find_far(bands: Mapping[str, CurveBand], *, higher_is_better: bool) -> list[str]:
    """The names whose means are far worse than all others, so that they stand at the edge."""
    drawn = []
    for band in bands.values():
        values = np.concatenate([band.middle, band.low, band.high])
        drawn.append(values[np.isfinite(values)].tolist())
    far = find_far(drawn, higher_is_better=higher_is_better)
    return [name for name, is_far in zip(bands, far, strict=True) if is_far]


def _mark_far(
    axes: Axes, number: int, colour: str, metric: str, band: CurveBand, *, below: bool
) -> None:
    """Write a triangle and the last value of a mean at the right end of the edge."""
    last = float(band.middle[-1])
    text = choose_number_format(metric, [last]).text(last)
    triangle = (
        "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        if below
        else "\N{BLACK UP-POINTING SMALL TRIANGLE}"
    )
    axes.annotate(
        f"{text} {triangle}",
        (1, 0 if below else 1),
        (-4, (5 + 10 * number) * (1 if below else -1)),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="bottom" if below else "top",
        fontsize=7,
        color=colour,
    )


def _fit_scale(metric: str, bands: Sequence[CurveBand]) -> Scale:
    """A scale that holds the means and bands; other lines only if there are no means.

    A loss or an error whose means span a factor of 10 has a logarithmic axis. A band may reach
    below 0, where such an axis ends: it is cut at the least mean then.
    """
    may_be_log = not metric.endswith("accuracy")
    shown = [band for band in bands if band.has_mean]
    lines = [band.middle for band in shown] or [line for band in bands for line in band.replicates]
    extent = Extent.measure(np.concatenate(lines) if lines else [])
    scale = fit_extent(extent, may_be_log=may_be_log, span=_LOG_SPAN)
    if not shown:
        return scale
    ends = Extent.measure(np.concatenate([end for band in shown for end in (band.low, band.high)]))
    if not scale.log:
        return fit_extent(extent.join(ends), may_be_log=False)
    low = min(extent.low, ends.low) if ends.low > 0 else extent.low
    return fit_extent(Extent(low, max(extent.high, ends.high), low), span=_LOG_SPAN)


def _make_legend(
    colours: Mapping[str, str], curves: Sequence[GatheredCurves]
) -> list[Line2D | Patch]:
    legend: list[Line2D | Patch] = [
        make_legend_line(name, color=colour, linewidth=1.6) for name, colour in colours.items()
    ]
    most = max(item.trained for item in curves)
    if most > 1:
        words = "95 % interval of the mean" if most >= MIN_FOR_INTERVAL else "range of replicates"
        legend.append(Patch(facecolor=QUIET, alpha=0.3, label=words))
    if any(item.finished < item.trained for item in curves):
        thin: dict[str, Any] = {"color": QUIET, "linewidth": 0.6}
        legend.append(make_legend_line("replicates, some diverged", **thin))
    return legend
