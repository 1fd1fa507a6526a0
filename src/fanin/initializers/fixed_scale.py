"""Distributions that ignore the layer: one scale for every weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.fans import WeightLayout
from fanin.initializers import distributions
from fanin.initializers.constant import SYMMETRY
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper


@final
@dataclass(frozen=True)
class Normal(Initializer):
    """N(mean, std²)."""

    name: ClassVar[str] = "normal"
    mean: float = 0.0
    std: float = 1.0

    @property
    def gaussian(self) -> bool:
        """With mean 0."""
        return self.mean == 0

    def check(self) -> None:
        """The spread must not be negative."""
        distributions.check_std(self.std, "normal(std=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """mean + std · z."""
        return distributions.normal(layout.shape, generator, mean=self.mean, std=self.std)

    def intended_std(self, layout: WeightLayout) -> float:
        """std."""
        return self.std


@final
@dataclass(frozen=True)
class Uniform(Initializer):
    """U[low, high]."""

    name: ClassVar[str] = "uniform"
    low: float = 0.0
    high: float = 1.0

    def check(self) -> None:
        """The bounds must be in order."""
        if self.low >= self.high:
            raise SpecError(
                f"uniform needs low < high, not low={quote(self.low)} and high={quote(self.high)}."
            )

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """(low + high)/2 + (high - low)/2 · erf(z/√2)."""
        return distributions.uniform(layout.shape, generator, low=self.low, high=self.high)

    def intended_std(self, layout: WeightLayout) -> float:
        """(high - low)/√12."""
        return (self.high - self.low) / math.sqrt(12)


@final
@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """N(mean, std²) without what lies further than `cut` · std from the mean.

    `std` is that of the normal before the cut, `cut` is counted in it. The weights' own is smaller:
    0.8796 · std at cut = 2.
    """

    name: ClassVar[str] = "truncated_normal"
    mean: float = 0.0
    std: float = 1.0
    cut: float = 2.0

    def check(self) -> None:
        """The spread must not be negative, and the cut not at the mean."""
        distributions.check_std(self.std, "truncated_normal(std=…)")
        if self.cut < distributions.MIN_CUT:
            raise SpecError(
                f"truncated_normal(cut=…) must be at least {distributions.MIN_CUT} (in units of "
                f"std), not {quote(self.cut)}."
            )

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """mean + std · √2 · erfinv(erf(z/√2) · erf(cut/√2))."""
        return distributions.truncated_normal(
            layout.shape, generator, mean=self.mean, std=self.std, cut=self.cut
        )

    def intended_std(self, layout: WeightLayout) -> float:
        """The standard deviation after the cut."""
        return self.std * distributions.truncated_std(self.cut)


REGISTRY.add(
    InitializerEntry(
        component=Normal,
        summary="Normal with one standard deviation for all layers.",
        formula="w ~ N(mean, std²)",
        paper=SYMMETRY,
        suited=(
            "Embeddings, and transformers with normalization whose recipe names a std (0.02 in "
            "GPT-2 and BERT)."
        ),
        avoid=(
            "Networks of several widths without normalization: a std that keeps the signal at one "
            "width makes it vanish or explode at another. The default std of 1 fits only layers "
            "with a fan-in of 1."
        ),
        cost="One draw per weight: O(n) for n weights.",
        differs=(
            "The default std is 1 as in torch; it is 0.05 in Keras' RandomNormal and 0.01 in JAX."
        ),
        examples=("normal(std=0.05)", "normal(mean=0.1, std=0.02)"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=Uniform,
        summary="Uniform between two bounds that are the same for all layers.",
        formula="w ~ U[low, high]",
        paper=SYMMETRY,
        suited=(
            "Shallow networks and single layers, with bounds chosen for the layer; recipes that "
            "name bounds."
        ),
        avoid=(
            "Deep networks, for the same reason as normal. Do not use its default bounds 0 and 1 "
            "for weights: they give every layer a mean that grows with its fan-in."
        ),
        cost="One draw per weight and one erf: O(n) for n weights.",
        differs=(
            "The default bounds are 0 and 1 as in torch (a and b there); they are ±0.05 in Keras' "
            "RandomUniform, 0 and 0.01 in JAX."
        ),
        examples=("uniform(low=-0.05, high=0.05)", "uniform(low=0.25, high=0.5)"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=TruncatedNormal,
        summary="Normal with one standard deviation for all layers and the tails cut off.",
        formula=(
            "w ~ N(mean, std²) given |w - mean| <= cut·std; Var w = std²·(1 - "
            "2·cut·φ(cut)/erf(cut/√2))"
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
            "variance_scaling corrects for the cut."
        ),
        cost="One draw per weight, one erf and one inverse erf: O(n) for n weights.",
        differs=(
            "std is that of the normal before the cut, as in torch, Keras and JAX. torch's "
            "trunc_normal_ cuts at absolute bounds (±2 by default, independent of std); Keras and "
            "JAX cut at ±2 std, with default std 0.05 and 0.01. cut is exact up to 5.3; beyond "
            "that fp32 cannot represent the difference."
        ),
        examples=("truncated_normal(std=0.02)", "truncated_normal(mean=0.5, std=0.1, cut=3.0)"),
    )
)
