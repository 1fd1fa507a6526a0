"""The axes of a panel: frame, grid, titles, and the ticks of a metric or a numeric factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from fanin.report.figures.palette import FRAME, GRID, QUIET
from fanin.report.figures.scales import FactorScale, Scale, choose_ticks, format_tick, set_log_scale

Direction = Literal["x", "y"]

_LABEL_SPACING = {"x": 0.42, "y": 0.2}
"""Inches between the labels of two ticks."""


def style_axes(axes: Axes) -> None:
    """Draw frame and ticks in quiet colours."""
    style_frame(axes)
    axes.tick_params(labelsize=7.5, colors=QUIET, length=2.5, pad=2)


def style_frame(axes: Axes) -> None:
    """Draw a thin grey frame."""
    for side in axes.spines.values():
        side.set_color(FRAME)
        side.set_linewidth(0.6)


def draw_grid(axes: Axes, along: Literal["both", "x", "y"] = "both") -> None:
    """Draw faint lines behind everything."""
    axes.grid(True, axis=along, color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def label_axis(axes: Axes, which: Direction, text: str) -> None:
    """Write the title of an axis."""
    getattr(axes, f"set_{which}label")(text, fontsize=8, color=QUIET, labelpad=2, parse_math=False)


def set_metric_axis(axes: Axes, scale: Scale, which: Direction, *, max_ticks: int = 6) -> None:
    """Set limits and ticks of a metric's axis; `max_ticks` are those of a logarithmic one."""
    axis: Axis = getattr(axes, f"{which}axis")
    if scale.log:
        set_log_scale(axes, which, scale.smallest)
        axis.set_major_locator(_locate_magnitudes(scale, max_ticks))
        hide_minor_ticks(axis)
    else:
        axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(format_tick))
    getattr(axes, f"set_{which}lim")(scale.low, scale.high)


def _locate_magnitudes(scale: Scale, max_ticks: int) -> Locator:
    if scale.smallest:
        first = math.ceil(math.log10(scale.smallest))
        powers = range(first, math.floor(math.log10(scale.high)) + 1)
        step = max(-(-len(powers) // (max_ticks - 1)), 1)
        return FixedLocator([0.0, *(10.0**power for power in powers[::step])])
    span = scale.high / scale.low
    subs = (1.0, 2.0, 5.0) if span < 30 else (1.0, 3.0) if span < 1e3 else (1.0,)
    return LogLocator(subs=subs, numticks=max_ticks)


def set_factor_axis(
    axes: Axes, values: Sequence[float], which: Direction, inches: float, scale: FactorScale
) -> None:
    """Set ticks at the values of a numeric factor, as many as fit into the axis' length."""
    axis: Axis = getattr(axes, f"{which}axis")
    scale.apply(axes, which)
    axis.set_major_locator(FixedLocator(choose_ticks(values, inches, _LABEL_SPACING[which], scale)))
    hide_minor_ticks(axis)
    axis.set_major_formatter(FuncFormatter(format_tick))


def hide_minor_ticks(axis: Axis) -> None:
    """Show no minor ticks and no labels of them."""
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
