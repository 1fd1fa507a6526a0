"""The normal distribution between two bounds that need not lie evenly around its mean.

With α = (low - mean)/std, β = (high - mean)/std and Z = Φ(β) - Φ(α):

| what               | formula                                               |
|--------------------|-------------------------------------------------------|
| value              | mean + std · Φ⁻¹(Φ(α) + Φ(z)·Z)                       |
| mean               | mean + std · (φ(α) - φ(β))/Z                          |
| standard deviation | std · √(1 + (α·φ(α) - β·φ(β))/Z - ((φ(α) - φ(β))/Z)²) |

z is the standard-normal draw of `fanin.initializers.distributions`, and the value grows with it. An
interval above the mean is reflected to the other side, where Φ keeps its digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fanin.seeds import standard_normal

FARTHEST = 30.0
"""How far from the mean, in standard deviations, an interval may begin: Φ(-30) is 5e-198."""

_NARROW = 0.5
"""Below this width the formulas lose digits to cancellation, and the moments are integrated."""


@dataclass(frozen=True)
class BoundedNormal:
    """N(0, 1) on the condition that it lies between `low` and `high`, either of which may be
    infinite.
    """

    low: float
    high: float

    @property
    def is_too_far(self) -> bool:
        """Whether the interval lies where nothing can be drawn any more."""
        return self.low > FARTHEST or self.high < -FARTHEST

    @property
    def mean(self) -> float:
        """The mean, which is 0 only if the bounds lie evenly around 0."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """The standard deviation."""
        return self._moments[1]

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Numbers in double precision, as the ends of the tails need it."""
        z = standard_normal(shape, generator).double()
        if self._is_reflected:
            return self._reflected._transform(z.neg_()).neg_()
        return self._transform(z)

    def _transform(self, z: Tensor) -> Tensor:
        below = _integrate_normal(self.low)
        mass = _integrate_normal(self.high) - below
        share = torch.special.ndtr(z).mul_(mass).add_(below)
        values: Tensor = torch.special.ndtri(share).clamp_(self.low, self.high)
        return values

    @property
    def _is_reflected(self) -> bool:
        return self.low > 0

    @property
    def _reflected(self) -> BoundedNormal:
        return BoundedNormal(-self.high, -self.low)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        if self._is_reflected:
            mean, std = self._reflected._moments
            return -mean, std
        if self.high - self.low < _NARROW:
            return self._integrate_moments()
        mass = _integrate_normal(self.high) - _integrate_normal(self.low)
        mean = (_density(self.low) - _density(self.high)) / mass
        edge = (_weigh(self.low) - _weigh(self.high)) / mass
        return mean, math.sqrt(max(1 + edge - mean * mean, 0.0))

    def _integrate_moments(self) -> tuple[float, float]:
        """The moments of a narrow interval, relative to its middle: 24 nodes give all digits."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        nodes, weights = np.polynomial.legendre.leggauss(24)
        away = half * nodes
        density = weights * np.exp(-middle * away - away * away / 2)
        mean = float((density * away).sum() / density.sum())
        variance = float((density * (away - mean) ** 2).sum() / density.sum())
        return middle + mean, math.sqrt(variance)


def _integrate_normal(x: float) -> float:
    """Φ(x)."""
    return math.erfc(-x / math.sqrt(2)) / 2


def _density(x: float) -> float:
    """φ(x)."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _weigh(x: float) -> float:
    """x·φ(x), 0 at infinity."""
    return x * _density(x) if math.isfinite(x) else 0.0
