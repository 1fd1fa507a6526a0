"""Where the signals of a plain network settle, as `fanin.gains.mean_field` says, in milliseconds.

The same maps, but with `NormalResponse` for the moments and bisection for the fixed points: an
iteration takes thousands of steps near criticality.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fanin.gains.normal_response import Activation

_SMALLEST, _LARGEST = 1e-10, 1e10
"""Second moments beyond which signals count as vanished or exploded."""
_STEPS = 40
_NEAR = 1e-4
"""The smallest 1 − c that a fixed point of correlations is told from 1 by."""


@dataclass(frozen=True)
class SettledState:
    """The fixed point of second moments and correlations."""

    second_moment: float
    chi: float
    correlation: float
    slope: float
    """χ(c*): what a small change of the correlation is multiplied by in each layer."""


def find_settled_state(
    activation: Activation, weight_variance: float, bias_variance: float, near: float
) -> SettledState | None:
    """The fixed point that second moments reach from `near`; None if they vanish or explode, or
    keep any size, as for ReLU without biases.
    """
    q = _find_second_moment(activation, weight_variance, bias_variance, near)
    if q is None:
        return None
    chi = weight_variance * activation.respond(0.0, q).slope2
    if chi <= 1 + 1e-6:
        return SettledState(q, chi, 1.0, chi)

    def separate(gap: float) -> float:
        return weight_variance * activation.separate(0.0, q, gap * q) / q

    gap = _bisect(lambda gap: separate(gap) - gap, _NEAR, 1.0)
    if gap is None:
        gap = 1.0 if separate(1.0) >= 1.0 - 1e-3 else _NEAR
    slope = (separate(gap * 1.01) - separate(gap * 0.99)) / (0.02 * gap)
    return SettledState(q, chi, 1.0 - gap, slope)


def _find_second_moment(
    activation: Activation, weight_variance: float, bias_variance: float, near: float
) -> float | None:
    def excess(q: float) -> float:
        return math.log(
            max((weight_variance * activation.respond(0.0, q).second + bias_variance) / q, 1e-300)
        )

    start = min(max(near, _SMALLEST), _LARGEST)
    first = excess(start)
    if abs(first) < 1e-9:
        return start if abs(excess(start * 4)) > 1e-9 else None
    factor, low = (4.0 if first > 0 else 0.25), start
    while _SMALLEST <= low * factor <= _LARGEST:
        high = low * factor
        if (excess(high) > 0) != (first > 0):
            root = _bisect(lambda log: excess(math.exp(log)), math.log(low), math.log(high))
            return None if root is None else math.exp(root)
        low = high
    return None


def _bisect(function: Callable[[float], float], low: float, high: float) -> float | None:
    """A root between two points of different sign; None if the signs agree."""
    sign = function(low) > 0
    if sign == (function(high) > 0):
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if (function(middle) > 0) == sign else (low, middle)
    return (low + high) / 2
