"""Figures of experiments: panels of lines, each a median over replicates with their range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from experiment.records import Records
from fanin.report.figures.palette import LINE_COLOURS, LINE_MARKERS, QUIET
from fanin.report.figures.plot_axes import draw_grid, label_axis, style_axes

_WIDTH, _HEIGHT = 4.4, 3.0
_MOST_MARKED = 12

_MOST_INSIDE = 4
"""Lines whose names fit into a panel; more stand beside it."""


@dataclass(frozen=True)
class Line:
    """One condition: x of shape (k,), and y of each replicate, shape (n, k).

    Where a replicate diverged, y is inf, and a cross stands at the top of the panel.
    """

    label: str
    x: Sequence[float]
    y: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    limits: tuple[float | None, float | None] = (None, None)
    """Of y."""
    dashed: float | None = None
    """A horizontal line, such as chance."""
    ticks: Mapping[float, str] = field(default_factory=dict)
    """Of x, and what is written there, such as 4.0 → "16" if x is a logarithm."""
    categories: Sequence[str] = ()
    """What 0, 1, … of x stand for: points beside one another, no lines between them."""


def make_best_line(label: str, records: Records) -> Line:
    """The training curves of one condition, at the learning rate with the least mean loss."""
    means = {
        rate: sum(records.read("loss", learning_rate=rate).values())
        for rate in records.list_values("learning_rate")
    }
    best = records.pick(learning_rate=min(means, key=lambda rate: means[rate]))
    curves = [record.values["curve"] for record in best]
    return Line(label, best[0].values["steps"], curves)


def draw_panels(panels: Sequence[Panel], columns: int = 2) -> Figure:
    """Panels side by side, with one legend for each."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel)
    return figure


def _draw_panel(axes, panel: Panel) -> None:  # type: ignore[no-untyped-def]
    style_axes(axes)
    draw_grid(axes)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    for number, line in enumerate(panel.lines):
        if panel.categories:
            _draw_points(axes, line, number, len(panel.lines))
            continue
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        x, y = np.asarray(line.x, float), np.asarray(line.y, float)
        y = np.where(np.isfinite(y), y, np.nan)
        known = ~np.isnan(y).any(axis=0)  # where a replicate diverged there is no median
        marker = LINE_MARKERS[number % len(LINE_MARKERS)] if known.sum() <= _MOST_MARKED else ""
        axes.plot(
            x[known], np.median(y[:, known], axis=0), color=colour, marker=marker,
            ms=3.5, lw=1.3, label=line.label,
        )  # fmt: skip
        axes.plot(
            x[~known], np.full((~known).sum(), 0.96 - 0.05 * number), "x",
            color=colour, ms=5, transform=axes.get_xaxis_transform(),
        )  # fmt: skip
        if len(y) > 1 and known.any():
            low, high = y[:, known].min(axis=0), y[:, known].max(axis=0)
            axes.fill_between(x[known], low, high, color=colour, alpha=0.18, lw=0)
    if panel.dashed is not None:
        axes.axhline(panel.dashed, color=QUIET, lw=0.8, ls=(0, (4, 3)))
    axes.set_ylim(*panel.limits)
    ticks = panel.ticks or dict(enumerate(panel.categories))
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_title(panel.title, fontsize=9, parse_math=False)
    label_axis(axes, "x", panel.x)
    label_axis(axes, "y", panel.y)
    if len(panel.lines) > _MOST_INSIDE:
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.legend(fontsize=7, frameon=False)


def _draw_points(axes, line: Line, number: int, lines: int) -> None:  # type: ignore[no-untyped-def]
    """Median and range of each category. Raises `ValueError` if a replicate diverged."""
    if not np.isfinite(line.y).all():
        raise ValueError(f"{line.label}: a diverged replicate has no point; draw it as a line.")
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    middle = np.median(y, axis=0)
    axes.errorbar(
        x + (number - (lines - 1) / 2) * 0.6 / lines,  # beside the others
        middle,
        (middle - y.min(axis=0), y.max(axis=0) - middle),
        fmt=LINE_MARKERS[number % len(LINE_MARKERS)],
        color=LINE_COLOURS[number % len(LINE_COLOURS)],
        ms=4,
        lw=1.1,
        label=line.label,
    )
