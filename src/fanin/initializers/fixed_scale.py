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
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry


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

    @property
    def intended_mean(self) -> float:
        """mean."""
        return self.mean

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
    """U[low, high]; the constant `low` if both are equal."""

    name: ClassVar[str] = "uniform"
    low: float = 0.0
    high: float = 1.0

    @property
    def intended_mean(self) -> float:
        """(low + high)/2."""
        return self.low / 2 + self.high / 2

    def check(self) -> None:
        """The bounds must be in order; they may be equal, as in torch."""
        if self.low > self.high:
            raise SpecError(
                f"uniform needs low <= high, not low={quote(self.low)} and high={quote(self.high)}."
            )

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """(low + high)/2 + (high - low)/2 · erf(z/√2)."""
        return distributions.uniform(layout.shape, generator, low=self.low, high=self.high)

    def intended_std(self, layout: WeightLayout) -> float:
        """(high - low)/√12."""
        return (self.high - self.low) / math.sqrt(12)


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
            "RandomUniform, 0 and 0.01 in JAX. Equal bounds give a constant, as in torch."
        ),
        examples=("uniform(low=-0.05, high=0.05)", "uniform(low=0.25, high=0.5)"),
    )
)
