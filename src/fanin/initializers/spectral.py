"""Spectral scaling: the size of a weight as a map, not that of its entries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, check_gain, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper


@final
@dataclass(frozen=True)
class Spectral(Initializer):
    """Normal, with a spectral norm of the order of √(outputs / inputs).

    A normal matrix of standard deviation σ has a spectral norm of about σ·(√inputs + √outputs).
    So σ = min(1, √(outputs/inputs))/√inputs gives a norm between one and two times
    √(outputs/inputs). `exact` divides it by 1 + √(short side / long side), which gives that norm
    itself, up to a fluctuation that shrinks as the matrix grows.

    For a kernel inputs are fan-in, taps included, and outputs are channels. Of an embedding, where
    one row is looked up, inputs is 1.

    Args:
        gain: the factor on the spectral norm.
        exact: whether the norm is gain·√(outputs/inputs), or of that order only, as in the paper.
    """

    name: ClassVar[str] = "spectral"
    gain: float = 1.0
    exact: bool = False

    @property
    def gaussian(self) -> bool:
        """Always."""
        return True

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "spectral(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """std · z."""
        return distributions.normal(layout.shape, generator, std=self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """gain · min(1, √(outputs/inputs))/√inputs; exact: divided by 1 + √(short/long)."""
        fans = require_fans(layout)
        inputs, outputs = fans.fan_in, fans.fan_out / max(math.prod(layout.kernel), 1)
        if not inputs or not outputs:
            return 0.0
        std = self.gain * min(1.0, math.sqrt(outputs / inputs)) / math.sqrt(inputs)
        if self.exact:
            std /= 1 + math.sqrt(min(inputs, outputs) / max(inputs, outputs))
        return std


REGISTRY.add(
    InitializerEntry(
        component=Spectral,
        summary="Normal, scaled so that the spectral norm is about √(outputs/inputs).",
        formula=(
            "w ~ N(0, σ²), σ = gain·min(1, √(outputs/inputs))/√inputs; exact=true: "
            "σ/(1 + √(short/long)), so that ‖W‖₂ = gain·√(outputs/inputs)"
        ),
        paper=Paper(
            authors="Yang, Simon, Bernstein",
            title="A spectral condition for feature learning",
            year=2023,
            link="https://arxiv.org/abs/2310.17813",
        ),
        suited=(
            "Networks whose width is varied while the learning rate is kept: it is muP's condition "
            "for every layer, readout included, without naming layers. Optimizers that bound the "
            "spectral norm of updates, such as Muon."
        ),
        avoid=(
            "As the only change: the learning rates must scale by layer too (mup gives them). "
            "Deep plain ReLU networks, where a gain of √2 is needed to keep the signal."
        ),
        cost="One draw per weight: O(n) for n weights.",
        differs=(
            "torch, Keras and JAX have no equivalent. Of square and widening layers it is "
            "lecun_normal; a narrowing layer is smaller by √(outputs/inputs). exact=true is not in "
            "the paper, which leaves the constant open."
        ),
        examples=("spectral(gain=1.5)", "spectral(exact=true)"),
    )
)
