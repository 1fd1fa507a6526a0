"""A coordinate check as a figure: size and change of each layer's output over the width."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from fanin.diagnosis import CoordinateCheck
from fanin.report.escaping import escape_invisible
from fanin.report.figures.palette import QUIET
from fanin.report.figures.plot_axes import draw_grid, label_axis, style_axes

_COLOURS = colormaps["viridis"]
_NAMED = 12
"""As many layers are named in the legend."""


def draw_coordinate_figure(check: CoordinateCheck) -> Figure:
    """Three panels over the width: sizes before the first update and after the last, and changes
    after the last. Each line is one layer, dark to light by its order; the median over seeds, with
    all seeds as a faint band.
    """
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    end = f"after {check.steps} steps"
    titles = ("mean |x| before training", f"mean |x| {end}", f"mean |x − x(0)| {end}")
    for axes, title, part, step in zip(
        panels, titles, ("sizes", "sizes", "changes"), (0, -1, -1), strict=True
    ):
        for place, layer in enumerate(check.layers):
            values = [[run[step] for run in row] for row in getattr(layer, part)]
            colour = _COLOURS(0.9 * place / max(len(check.layers) - 1, 1))
            _draw_line(axes, check.widths, values, colour, layer.layer)
        _set_axes(axes, check.widths, title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles[:_NAMED],
        [escape_invisible(label) for label in labels[:_NAMED]],
        loc="outside right upper",
        fontsize=7.5,
        frameon=False,
    )
    word = "holds" if check.holds else "does not hold"
    figure.suptitle(
        escape_invisible(f"{check.initializer}, {check.optimizer}: the scaling {word}"),
        fontsize=10,
        parse_math=False,
    )
    return figure


def _draw_line(
    axes: Axes,
    widths: Sequence[int],
    values: Sequence[Sequence[float]],
    colour: tuple[float, ...],
    label: str,
) -> None:
    rows = [sorted(one for one in row if math.isfinite(one) and one > 0) for row in values]
    kept = [(width, row) for width, row in zip(widths, rows, strict=True) if row]
    places = [width for width, _ in kept]
    axes.plot(
        places,
        [row[len(row) // 2] for _, row in kept],
        color=colour,
        linewidth=1.2,
        marker="o",
        markersize=3,
        label=label,
    )
    axes.fill_between(
        places,
        [row[0] for _, row in kept],
        [row[-1] for _, row in kept],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )


def _set_axes(axes: Axes, widths: Sequence[int], title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(widths), [str(width) for width in widths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=8.5, color=QUIET, parse_math=False)
    label_axis(axes, "x", "width")
    style_axes(axes)
    draw_grid(axes)
