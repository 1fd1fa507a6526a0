"""Axes for the values of a factor and of a metric: where numbers stand, when an axis is
logarithmic, what its ticks say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from fanin.report.figures.curve_panel import QUIET, Scale, tick_text

LOG_SPAN = 30.0
"""Ratio of the largest to the smallest value from which a factor's axis is logarithmic."""

_GEOMETRIC_SPAN = 8.0
"""The same, where the values stand more evenly on a logarithmic axis than on a linear one."""

_GRID = "#E4E4E4"
_FRAME = "#BBBBBB"


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether these values of a factor are shown on a logarithmic axis."""
    x = np.unique(np.asarray(values, dtype=np.float64))
    if len(x) < 2 or x[0] <= 0:
        return False
    span = x[-1] / x[0]
    return bool(
        span >= LOG_SPAN
        or (span >= _GEOMETRIC_SPAN and len(x) > 2 and _unevenness(np.log(x)) < _unevenness(x))
    )


def edges(values: Sequence[float], *, log: bool) -> np.ndarray:
    """The n + 1 edges of cells around n ascending values, halfway between them on the axis."""
    x = np.log(values) if log else np.asarray(values, dtype=np.float64)
    if len(x) == 1:
        found = np.array([x[0] - 0.5, x[0] + 0.5])
    else:
        middle = (x[1:] + x[:-1]) / 2
        found = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return np.exp(found) if log else found


def prepare(axes: Axes) -> None:
    """Quiet frame and ticks."""
    for side in axes.spines.values():
        side.set_color(_FRAME)
        side.set_linewidth(0.6)
    axes.tick_params(labelsize=7.5, colors=QUIET, length=2.5, pad=2)


def grid(axes: Axes, along: str = "both") -> None:
    """Faint lines behind everything."""
    axes.grid(True, axis=along, color=_GRID, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def metric_axis(axes: Axes, scale: Scale, which: str) -> None:
    """Limits, locators and ticks of a metric's axis, `which` being x or y."""
    axis = getattr(axes, f"{which}axis")
    if scale.log:
        getattr(axes, f"set_{which}scale")("log")
        axis.set_major_locator(
            LogLocator(subs=(1.0, 3.0) if scale.high / scale.low < 1e3 else (1.0,), numticks=6)
        )
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(tick_text))
    getattr(axes, f"set_{which}lim")(scale.low, scale.high)


def factor_axis(
    axes: Axes, values: Sequence[float], which: str, inches: float, *, log: bool
) -> None:
    """Ticks at the values of a numeric factor, as many as fit."""
    axis = getattr(axes, f"{which}axis")
    if log:
        getattr(axes, f"set_{which}scale")("log")
    room = 0.42 if which == "x" else 0.2
    axis.set_major_locator(FixedLocator(_that_fit(list(values), inches, room, log=log)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(tick_text))


def _that_fit(values: list[float], inches: float, room: float, *, log: bool) -> list[float]:
    """The values from the first on whose labels do not touch that of the one before."""
    places = [math.log(value) if log else value for value in values]
    span = (places[-1] - places[0]) or 1.0
    kept = [0]
    for i, place in enumerate(places):
        if (place - places[kept[-1]]) / span * inches >= room:
            kept.append(i)
    return [values[i] for i in kept]


def _unevenness(x: np.ndarray) -> float:
    steps = np.diff(x)
    return float(steps.std() / steps.mean())
