"""Moments of activations to three digits in a fraction of a millisecond: a path of fifty layers
needs a hundred of them. `fanin.gains` has them to ten digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.gains.activation_functions import resolve_activation
from fanin.structure.followers import Activation

REACH, POINTS = 6.0, 600
"""Standard deviations on either side, and points between: 50 to each, enough for kinks, and none at
0, where most of them are.
"""
SAME = 1e-6


@dataclass(frozen=True)
class QuickMoments:
    """E f(x)² and E f'(x)² for x ~ N(0, variance)."""

    second: float
    slope2: float


class KnownActivation:
    """An activation that can be called; the identity if it is none that can."""

    def __init__(self, activation: Activation | None) -> None:
        self.name = "a linear layer"
        self._function: Callable[[Tensor], Tensor] = lambda x: x
        self.identity = True
        if activation is not None:
            try:
                found = resolve_activation(activation)
                found(torch.linspace(-1, 1, 3, dtype=torch.float64))
            except Exception:  # a user's function may fail in any way
                return
            self.name, self._function, self.identity = found.name, found, False

    def compute_moments(self, variance: float) -> QuickMoments:
        """By the rule of rectangles, which is exact enough for what falls off so fast."""
        if self.identity:
            return QuickMoments(variance, 1.0)
        z = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
        density = torch.exp(-z * z / 2)
        y, slope = self._evaluate(z * math.sqrt(variance))
        total = density.sum()
        second, slope2 = ((one.square() * density).sum() / total for one in (y, slope))
        return QuickMoments(float(second), float(slope2))

    def compute_mean_share(self) -> float:
        """(E f)² / E f² of a unit normal input: 1 if f is constant, 0 if it is odd."""
        z = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
        density = torch.exp(-z * z / 2)
        y, _ = self._evaluate(z)
        second = float((y.square() * density).sum() / density.sum())
        return float((y * density).sum() / density.sum()) ** 2 / second if second else 0.0

    def evaluate_at_zero(self) -> float:
        """f(0)."""
        return float(self._evaluate(torch.zeros(1, dtype=torch.float64))[0])

    def compute_gain(self) -> float:
        """1/√E f², which keeps the second moment of unit variance; 1 if f is constant 0."""
        return _invert_root(self.compute_moments(1.0).second)

    def compute_critical_gain(self) -> float:
        """As `fanin.gains.critical_gain`: 1/|f'(0)| of odd f that lie below their tangent, else
        1/√E f'².
        """
        x = torch.linspace(-REACH, REACH, POINTS + 1, dtype=torch.float64)
        y, slope = self._evaluate(x)
        at_zero = abs(float(slope[POINTS // 2]))
        odd = bool((y + y.flip(0)).abs().max() < SAME) and at_zero > SAME
        if odd and bool((y.abs() <= at_zero * x.abs() + SAME).all()):
            return 1 / at_zero
        return _invert_root(self.compute_moments(1.0).slope2)

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.clone().requires_grad_()
            y = self._function(leaf)
            if not y.requires_grad:
                return y.detach(), torch.zeros_like(x)
            (slope,) = torch.autograd.grad(y.sum(), leaf)
        return y.detach(), slope


def _invert_root(value: float) -> float:
    return 1 / math.sqrt(value) if value > 0 and math.isfinite(value) else 1.0
