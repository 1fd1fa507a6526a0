"""The normal distribution without its tails, cut evenly or at two bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.fans import WeightLayout
from fanin.initializers import distributions
from fanin.initializers.bounded_normal import FARTHEST, BoundedNormal
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper


@final
@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """N(mean, std²) without what lies further than `cut` · std from the mean, or outside of `low`
    and `high`.

    `std` is that of the normal before the cut. The weights' own is smaller: 0.8796 · std at cut =
    2. With bounds that lie unevenly around `mean`, the weights' mean is another one too, and a
    layer's outputs then have a mean that grows with its fan-in (`intended_mean`).

    Args:
        mean: that of the normal before the cut.
        std: that of the normal before the cut.
        cut: half the width of what is kept, counted in std.
        low: instead of `cut`, the smallest weight; none: no such bound, if `high` is given.
        high: instead of `cut`, the largest weight; none: no such bound, if `low` is given.
    """

    name: ClassVar[str] = "truncated_normal"
    mean: float = 0.0
    std: float = 1.0
    cut: float = 2.0
    low: float | None = None
    high: float | None = None

    @property
    def intended_mean(self) -> float:
        """That of the weights, after the cut."""
        bounded = self._get_bounded()
        return self.mean if bounded is None else self.mean + self.std * bounded.mean

    def check(self) -> None:
        """The spread must not be negative, the cut not at the mean, and the bounds in order."""
        distributions.check_std(self.std, "truncated_normal(std=…)")
        if self.cut < distributions.MIN_CUT:
            raise SpecError(
                f"truncated_normal(cut=…) must be at least {distributions.MIN_CUT} (in units of "
                f"std), not {quote(self.cut)}."
            )
        if self.low is not None or self.high is not None:
            self._check_bounds()

    def _check_bounds(self) -> None:
        low, high = self._get_bounds()
        if self.cut != TruncatedNormal.cut:
            raise SpecError("truncated_normal takes cut (in units of std), or low and high.")
        if low > high:
            raise SpecError(
                f"truncated_normal needs low <= high, not low={quote(low)} and high={quote(high)}."
            )
        bounded = self._get_bounded()
        if bounded.is_too_far if bounded else not low <= self.mean <= high:
            raise SpecError(
                f"truncated_normal(mean={self.mean!r}, std={self.std!r}) has nothing between "
                f"low={low!r} and high={high!r}, which lie more than {FARTHEST:g} standard "
                "deviations from the mean. low and high are bounds of the weights, not counted in "
                "std."
            )

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """mean + std · √2 · erfinv(erf(z/√2) · erf(cut/√2)); with bounds mean + std · Φ⁻¹(Φ(α) +
        Φ(z)·(Φ(β) - Φ(α))).
        """
        bounded = self._get_bounded()
        if bounded is None:
            return distributions.truncated_normal(
                layout.shape, generator, mean=self.mean, std=self.std, cut=self.cut
            )
        weights = bounded.sample(layout.shape, generator).mul_(self.std).add_(self.mean).float()
        return weights.clamp_(*_round_inwards(*self._get_bounds()))

    def intended_std(self, layout: WeightLayout) -> float:
        """The standard deviation after the cut."""
        bounded = self._get_bounded()
        return self.std * (
            distributions.truncated_std(self.cut) if bounded is None else bounded.std
        )

    def _get_bounds(self) -> tuple[float, float]:
        low = -math.inf if self.low is None else self.low
        return low, math.inf if self.high is None else self.high

    def _get_bounded(self) -> BoundedNormal | None:
        """The distribution in units of std; None if the cut decides, or if nothing varies."""
        if (self.low is None and self.high is None) or self.std == 0:
            return None
        low, high = self._get_bounds()
        return BoundedNormal((low - self.mean) / self.std, (high - self.mean) / self.std)


def _round_inwards(low: float, high: float) -> tuple[float, float]:
    """Bounds as fp32 has them, on the side of the interval; equal ones stay equal."""
    if low == high:
        return low, high
    lowest, highest = np.float32(low), np.float32(high)
    if float(lowest) < low:
        lowest = np.nextafter(lowest, np.float32(np.inf))
    if float(highest) > high:
        highest = np.nextafter(highest, np.float32(-np.inf))
    return float(lowest), float(highest)


REGISTRY.add(
    InitializerEntry(
        component=TruncatedNormal,
        summary="Normal with one standard deviation for all layers and the tails cut off.",
        formula=(
            "w ~ N(mean, std²) given |w - mean| <= cut·std, or low <= w <= high; Var w = std²·(1 - "
            "2·cut·φ(cut)/erf(cut/√2)), or std²·(1 + (α·φ(α) - β·φ(β))/Z - ((φ(α) - φ(β))/Z)²) "
            "with α, β = (low, high - mean)/std and Z = Φ(β) - Φ(α)"
        ),
        paper=Paper(
            authors="Robert",
            title="Simulation of truncated normal variables",
            year=1995,
            link="https://arxiv.org/abs/0907.4010",
        ),
        suited=(
            "Transformers and vision transformers whose recipe names a std (0.02), if single large "
            "weights would hurt."
        ),
        avoid=(
            "Networks of several widths without normalization, for the same reason as normal. "
            "Weights whose standard deviation must equal std, which is that before the cut: "
            "variance_scaling corrects for the cut. Bounds that lie unevenly around mean: the "
            "weights then have another mean, as the record says, which every layer passes on "
            "times its fan-in."
        ),
        cost=(
            "One draw per weight, one erf and one inverse erf: O(n) for n weights. With low or "
            "high in double precision, which takes more time and memory."
        ),
        differs=(
            "std is that of the normal before the cut, as in torch, Keras and JAX. torch's "
            "trunc_normal_ has bounds a and b, low and high here: ±2 by default, whatever std is, "
            "so trunc_normal(std=0.02) cuts nothing. Keras and JAX cut at ±2 std, with default std "
            "0.05 and 0.01; JAX' lower and upper count in std. cut is exact up to 5.3; beyond that "
            "fp32 cannot represent the difference."
        ),
        examples=(
            "truncated_normal(std=0.02)",
            "truncated_normal(mean=0.5, std=0.1, cut=3.0)",
            "truncated_normal(std=0.02, low=-0.01, high=0.04)",
        ),
    )
)
