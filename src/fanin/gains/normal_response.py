"""What an elementwise activation does to normal numbers, fast: one evaluation on a fixed grid.

`fanin.gains.moments` is exact to 1e-10 and takes tens of milliseconds; a prediction asks for every
layer anew and needs three digits. Here the integrals are midpoint sums over ±10 standard
deviations. For smooth functions they are exact to rounding; a kink costs at most 4e-3 of E f'² and
4e-4 of E f².
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from fanin import seeds
from fanin.errors import FaninError, UsageError
from fanin.gains.activation_functions import NamedActivation, UnnamedActivation, resolve_activation

_REACH = 10.0
_POINTS = 2000
"""Torch computes up to so many numbers without starting threads."""
_STEP = 2 * _REACH / _POINTS
_Z = (torch.arange(_POINTS, dtype=torch.float64, device="cpu") + 0.5) * _STEP - _REACH
"""No point is 0, where most kinks are; the two sides of it weigh the same."""
_DENSITY = torch.exp(_Z.square() / -2) * (_STEP / math.sqrt(math.tau))
_TILT = (_Z.square() - 1) / 2
"""E h·(z² − 1)/2 is the derivative of E h by the logarithm of the variance."""

_NODES, _WEIGHTS = legendre.leggauss(128)
_PAIR_REACH = 7.0
_PAIR_Z = torch.from_numpy(_NODES * _PAIR_REACH)
_PAIR_DENSITY = torch.from_numpy(
    _WEIGHTS * _PAIR_REACH * np.exp(-((_NODES * _PAIR_REACH) ** 2) / 2) / math.sqrt(math.tau)
)
_CLOSE = 1e-5
"""Difference over variance below which two inputs differ by the derivative alone. There a kink is
met by so few pairs that a grid would miss it."""

_LEAST = 1e-100
"""Second moments whose squares are still numbers."""

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class NormalResponse:
    """Of f(u) for normal u."""

    mean: float
    second: float
    """E f²."""
    slope2: float
    """E f'²."""
    sensitivity: float
    """d ln E f² / d ln Var u: 1 for ReLU, towards 0 where f saturates."""
    spread: float
    """Var f² / (E f²)²: how far the mean of f² over n units varies, times n. 5 for ReLU."""
    slope_spread: float
    """(3 E f'⁴ − (E f'²)²) / (E f'²)²: the same of the squared gradient on its way back."""


class Activation:
    """An elementwise activation that answers what it does to normal numbers.

    Raises `FaninError` for what is not elementwise, not finite, or cannot be evaluated by itself.
    """

    def __init__(self, activation: object) -> None:
        found = resolve_activation(activation)
        self.name = found.name
        self._found: NamedActivation | UnnamedActivation = found
        if isinstance(found, UnnamedActivation):
            _check_elementwise(found)

    def respond(self, mean: float, variance: float) -> NormalResponse:
        """What f does to N(mean, variance)."""
        if isinstance(self._found, NamedActivation):
            return _respond_by_name(self._found, mean, variance)
        return _respond(self._found, mean, variance)

    def find_largest(self, mean: float, variance: float, count: int) -> tuple[float, float]:
        """Mean and second moment of the largest of f(x_1) … f(x_count), x ~ N(mean, variance), each
        independent of the others.

        P(largest ≤ v) = P(f(x) ≤ v)^count, on the fixed grid.
        """
        values, _ = _evaluate(self._found, _Z * math.sqrt(variance) + mean)
        values, order = values.sort()
        below = _DENSITY[order].cumsum(0) ** count
        weights = below.diff(prepend=below.new_zeros(1))
        return float((weights * values).sum()), float((weights * values.square()).sum())

    def separate(self, mean: float, variance: float, difference: float) -> float:
        """E (f(u₁) − f(u₂))²/2 for two of N(mean, variance) with E (u₁ − u₂)²/2 = `difference`.

        This is q·(1 − c) of the outputs, without loss of digits where the correlation c is near 1.
        """
        if difference <= _CLOSE * variance:
            return self.respond(mean, variance).slope2 * difference
        share = min(difference / (2 * variance), 1.0)
        common = math.sqrt(variance * (1 - share)) * _PAIR_Z.unsqueeze(1) + mean
        apart = math.sqrt(variance * share) * _PAIR_Z.unsqueeze(0)
        first, second = common + apart, common - apart
        with _isolate():
            gap = (
                _call(self._found, first.flatten()) - _call(self._found, second.flatten())
            ).view_as(first)
        weights = _PAIR_DENSITY.unsqueeze(1) * _PAIR_DENSITY.unsqueeze(0)
        return float((weights * gap.square()).sum()) / 2


@lru_cache(maxsize=8192)
def _respond_by_name(found: NamedActivation, mean: float, variance: float) -> NormalResponse:
    return _respond(found, mean, variance)


def _respond(
    found: NamedActivation | UnnamedActivation, mean: float, variance: float
) -> NormalResponse:
    values, slopes = _evaluate(found, _Z * math.sqrt(variance) + mean)
    squares, slopes = values.square(), slopes.square()
    second, slope2 = _average(squares), _average(slopes)
    exact = None
    if mean == 0 and isinstance(found, NamedActivation):
        exact = found.compute_closed_form(variance)
    return NormalResponse(
        exact.mean if exact else _average(values),
        exact.second if exact else second,
        exact.slope2 if exact else slope2,
        _average(squares * _TILT) / second if second > _LEAST else 0.0,
        max(_average(squares.square()) / second**2 - 1, 0.0) if second > _LEAST else 0.0,
        3 * _average(slopes.square()) / slope2**2 - 1 if slope2 > _LEAST else 0.0,
    )


def _average(values: Tensor) -> float:
    return float((values * _DENSITY).sum())


def _evaluate(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    with _isolate():
        leaf = x.clone().requires_grad_()
        y = _call(function, leaf)
        if not y.requires_grad:
            return y, torch.zeros_like(y)
        slope = torch.autograd.grad(y.sum(), leaf, allow_unused=True)[0]
        slope = torch.zeros_like(y) if slope is None else slope
    if not bool((y.isfinite() & slope.isfinite()).all()):
        raise UsageError("The activation or its derivative is not finite everywhere.")
    return y.detach(), slope


def _call(function: Function, x: Tensor) -> Tensor:
    try:
        y = function(x.clone())  # a copy, for functions that work in place
    except FaninError:
        raise
    except Exception as error:  # of a function that users wrote
        raise UsageError(f"The activation cannot be computed by itself: {error}") from error
    if not isinstance(y, Tensor) or y.shape != x.shape or not y.is_floating_point():
        raise UsageError("The activation is not elementwise: it changes the shape.")
    return y.double()


def _check_elementwise(found: UnnamedActivation) -> None:
    """Raise unless a number has the same value in other company."""
    x = _Z[:: len(_Z) // 60]
    with _isolate():
        whole, part = _call(found, x), _call(found, x[:20].flip(0)).flip(0)
    if not torch.allclose(whole[:20], part, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise UsageError(
            f"{found.name} is not elementwise: its value depends on other numbers, or on chance."
        )


@contextmanager
def _isolate() -> Iterator[None]:
    """Autograd on, whatever mode the caller is in, and torch's global random state kept."""
    with torch.inference_mode(False), torch.enable_grad(), seeds.preserve_torch_state():
        yield
