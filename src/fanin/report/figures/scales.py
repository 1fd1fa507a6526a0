"""Scales: the range of an axis, whether it is logarithmic, and the text of its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LOG_SPAN = 30.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

_GEOMETRIC_SPAN = 8.0
"""The same, for values that are spaced more evenly on a logarithmic axis than on a linear one."""


@dataclass(frozen=True)
class Scale:
    """The range of one axis. Panels that are compared share it."""

    low: float
    high: float
    log: bool

    def format_title(self, name: str) -> str:
        """The title of the axis, such as ``loss (log)``."""
        return format_axis_title(name, log=self.log)


def fit_scale(values: Sequence[float], *, may_be_log: bool = True) -> Scale:
    """A scale that holds all values; logarithmic if they span more than a factor of 30."""
    if not values:
        return Scale(0.0, 1.0, log=False)
    low, high = min(values), max(values)
    if may_be_log and low > 0 and high / low > _LOG_SPAN:
        margin = (high / low) ** 0.05
        return Scale(low / margin, high * margin, log=True)
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


def compute_edges(values: Sequence[float], *, log: bool) -> np.ndarray:
    """The n + 1 edges of cells around n ascending values, halfway between them on the axis."""
    x = np.log(values) if log else np.asarray(values, dtype=np.float64)
    if len(x) == 1:
        edges = np.array([x[0] - 0.5, x[0] + 0.5])
    else:
        middle = (x[1:] + x[:-1]) / 2
        edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return np.exp(edges) if log else edges


def choose_ticks(
    values: Sequence[float], inches: float, spacing: float, *, log: bool
) -> list[float]:
    """The values to label on an axis: from the first on, each at least `spacing` after the last.

    Args:
        values: in ascending order.
        inches: the length of the axis.
        spacing: the least distance between two labels, in inches.
        log: whether the axis is logarithmic.
    """
    positions = [math.log(value) if log else value for value in values]
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


def format_axis_title(name: str, *, log: bool) -> str:
    """The title of an axis; says if it is logarithmic."""
    return f"{name} (log)" if log else name


def _measure_unevenness(x: np.ndarray) -> float:
    steps = np.diff(x)
    return float(steps.std() / steps.mean())
