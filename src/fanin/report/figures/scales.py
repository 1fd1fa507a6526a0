"""Scales: the range of an axis, whether it is logarithmic, and the text of its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

_LOG_SPAN = 30.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

_GEOMETRIC_SPAN = 8.0
"""The same, for values that are spaced more evenly on a logarithmic axis than on a linear one."""


_ZERO_WIDTH = 0.9
"""What makes the distance from 0 to the smallest value one decade, in matplotlib's symlog scale."""


def set_log_scale(axes: Axes, which: str, smallest: float) -> None:
    """Make an axis logarithmic, with a place for 0 below `smallest` unless that is 0."""
    set_scale = getattr(axes, f"set_{which}scale")
    if smallest:
        set_scale("symlog", linthresh=smallest, linscale=_ZERO_WIDTH)
    else:
        set_scale("log")


@dataclass(frozen=True)
class FactorScale:
    """How the values of a numeric factor lie on an axis."""

    log: bool
    smallest: float = 0.0
    """The smallest positive value, if 0 is drawn one decade beside it on a logarithmic axis."""

    @classmethod
    def choose(cls, values: Sequence[float]) -> FactorScale:
        """The scale for a factor's values: logarithmic if they span a factor of 30 or are spaced
        geometrically. A value of 0 beside such magnitudes gets a place of its own.
        """
        positive = [value for value in values if value > 0]
        if len(positive) < len(values) - 1 or not is_logarithmic(positive):
            return cls(log=False)
        has_zero = len(positive) < len(values) and min(values) == 0
        if len(positive) < len(values) and not has_zero:
            return cls(log=False)
        return cls(log=True, smallest=min(positive) if has_zero else 0.0)

    def to_position(self, value: float) -> float:
        """Where a value is on the axis, in its own units or in decades."""
        if not self.log:
            return value
        if not self.smallest:
            return math.log10(value)
        if value <= self.smallest:
            return value / self.smallest
        return 1 + math.log10(value / self.smallest)

    def to_value(self, position: float) -> float:
        """The value at a position."""
        if not self.log:
            return position
        if not self.smallest:
            return float(10.0**position)
        return self.smallest * (position if position <= 1 else 10.0 ** (position - 1))

    def apply(self, axes: Axes, which: str) -> None:
        """Set the scale of an axis."""
        if self.log:
            set_log_scale(axes, which, self.smallest)

    def format_title(self, name: str) -> str:
        """The title of the axis."""
        words = "log, 0 apart" if self.smallest else "log" if self.log else ""
        return f"{name} ({words})" if words else name


@dataclass(frozen=True)
class Scale:
    """The range of one axis. Panels that are compared share it."""

    low: float
    high: float
    log: bool
    smallest: float = 0.0
    """The smallest positive value, if 0 is drawn one decade beside it on a logarithmic axis."""

    def format_title(self, name: str, unit: str = "") -> str:
        """The title of the axis, such as ``loss (log)`` or ``MAE ($, log)``."""
        words = ", ".join(filter(None, (unit, "log" * self.log, "0 apart" * bool(self.smallest))))
        return f"{name} ({words})" if words else name


@dataclass(frozen=True)
class Extent:
    """The range of finite values; empty without any."""

    low: float = math.inf
    high: float = -math.inf
    smallest: float = math.inf
    """The smallest positive value."""

    @classmethod
    def measure(cls, values: ArrayLike) -> Extent:
        """The extent of some values."""
        x = np.asarray(values, dtype=np.float64)
        x = x[np.isfinite(x)]
        if not len(x):
            return cls()
        low, high = float(x.min()), float(x.max())
        return cls(low, high, low if low > 0 else float(x[x > 0].min()) if high > 0 else math.inf)

    def join(self, other: Extent) -> Extent:
        """The extent of the values of both."""
        return Extent(
            min(self.low, other.low),
            max(self.high, other.high),
            min(self.smallest, other.smallest),
        )


def fit_scale(values: Sequence[float], *, may_be_log: bool = True) -> Scale:
    """`fit_extent` of finite values."""
    return fit_extent(Extent.measure(values), may_be_log=may_be_log)


def fit_extent(extent: Extent, *, may_be_log: bool = True, span: float = _LOG_SPAN) -> Scale:
    """A scale that holds all values; logarithmic if they span more than a factor of `span`.

    A value of 0 beside such magnitudes gets a place of its own.
    """
    low, high = extent.low, extent.high
    if low > high:
        return Scale(0.0, 1.0, log=False)
    if may_be_log and low > 0 and high / low > span:
        margin = (high / low) ** 0.05
        return Scale(low / margin, high * margin, log=True)
    smallest = extent.smallest if math.isfinite(extent.smallest) else 0.0
    if may_be_log and low == 0 and smallest and high / smallest > span:
        return Scale(-0.3 * smallest, high * (high / smallest) ** 0.05, log=True, smallest=smallest)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low - margin, high + margin, log=False)


def fit_metric_scale(metric: str, values: Sequence[float]) -> Scale:
    """The scale of a metric. It is always linear for accuracies."""
    return fit_scale(values, may_be_log=not metric.endswith("accuracy"))


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether a factor with these values gets a logarithmic axis."""
    x = np.unique(np.asarray(values, dtype=np.float64))
    if len(x) < 2 or x[0] <= 0:
        return False
    span = x[-1] / x[0]
    if span >= _LOG_SPAN:
        return True
    is_geometric = len(x) > 2 and _measure_unevenness(np.log(x)) < _measure_unevenness(x)
    return bool(span >= _GEOMETRIC_SPAN and is_geometric)


def compute_edges(values: Sequence[float], scale: FactorScale) -> np.ndarray:
    """The n + 1 edges of cells around n ascending values, halfway between them on the axis."""
    x = np.array([scale.to_position(value) for value in values], dtype=np.float64)
    if len(x) == 1:
        edges = np.array([x[0] - 0.5, x[0] + 0.5])
    else:
        middle = (x[1:] + x[:-1]) / 2
        edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return np.array([scale.to_value(edge) for edge in edges])


def choose_ticks(
    values: Sequence[float], inches: float, spacing: float, scale: FactorScale
) -> list[float]:
    """The values to label on an axis: from the first on, each at least `spacing` after the last.

    Args:
        values: in ascending order.
        inches: the length of the axis.
        spacing: the least distance between two labels, in inches.
        scale: the axis' scale.
    """
    positions = [scale.to_position(value) for value in values]
    span = (positions[-1] - positions[0]) or 1.0
    chosen = [0]
    for i, position in enumerate(positions):
        if (position - positions[chosen[-1]]) / span * inches >= spacing:
            chosen.append(i)
    return [values[i] for i in chosen]


def format_tick(value: float, position: object = None) -> str:
    """``0.5``, ``1,500``, ``50k``, ``5e9``: short, and the same in every locale."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if size >= 1e4:
        return f"{value / 1000:g}k"
    return f"{value:,.4g}" if size >= 1000 else f"{value:.4g}"


def _measure_unevenness(x: np.ndarray) -> float:
    steps = np.diff(x)
    return float(steps.std() / steps.mean())
