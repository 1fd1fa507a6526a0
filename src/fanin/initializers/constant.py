"""Constants: every weight the same number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper

SYMMETRY = Paper(
    authors="Rumelhart, Hinton, Williams",
    title="Learning internal representations by error propagation",
    year=1986,
    link="https://doi.org/10.21236/ADA164453",
)


@final
@dataclass(frozen=True)
class Zero(Initializer):
    """Every weight 0."""

    name: ClassVar[str] = "zero"
    deterministic: ClassVar[bool] = True

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """Zeros; the generator is not used."""
        return torch.zeros(layout.shape, dtype=torch.float32, device="cpu")

    def intended_std(self, layout: WeightLayout) -> float:
        """0."""
        return 0.0


@final
@dataclass(frozen=True)
class Constant(Initializer):
    """Every weight `value`."""

    name: ClassVar[str] = "constant"
    deterministic: ClassVar[bool] = True
    value: float = 1.0

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """The constant; the generator is not used."""
        return torch.full(layout.shape, self.value, dtype=torch.float32, device="cpu")

    def intended_std(self, layout: WeightLayout) -> float:
        """0."""
        return 0.0


REGISTRY.add(
    InitializerEntry(
        component=Zero,
        summary=(
            "All weights zero. Hidden layers cannot learn from it; use it for biases and for the "
            "end of a residual branch."
        ),
        formula="w = 0",
        paper=SYMMETRY,
        suited=(
            "Biases, shifts of normalization layers, and the last layer of a residual branch, "
            "which then starts as the identity. As a weight, a baseline that fails."
        ),
        avoid=(
            "Hidden weights outside residual branches: signals after such a layer and gradients "
            "before it are exactly zero, and of two such layers in a row neither ever learns."
        ),
        cost="Nothing is drawn: O(n) to write n weights.",
        differs="Same as zeros_ in torch, Zeros in Keras and zeros in JAX.",
    )
)

REGISTRY.add(
    InitializerEntry(
        component=Constant,
        summary="All weights equal (1 by default). All units of a layer stay identical.",
        formula="w = value",
        paper=SYMMETRY,
        suited=(
            "Scales of normalization layers (1, its default) and biases. As a weight, a "
            "demonstration of what symmetry does."
        ),
        avoid=(
            "Weights that you train: all units of a layer compute the same and get the "
            "same gradient, so the layer acts as if it had one unit."
        ),
        cost="Nothing is drawn: O(n) to write n weights.",
        differs="torch's constant_ has no default value; the default of Keras' Constant is 0.",
        examples=("constant(value=0.1)",),
    )
)
