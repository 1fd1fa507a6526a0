"""Xavier (Glorot): a compromise between keeping the variance forward and backward.

>>> from fanin import initializers
>>> from fanin.fans import get_tensor_layout
>>> initializers.get("xavier_normal").intended_std(get_tensor_layout((20, 30)))
0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, check_gain
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.variance_scaling import (
    choose_distribution,
    compute_scaled_std,
    sample_scaled,
)


@final
@dataclass(frozen=True)
class XavierUniform(Initializer):
    """Uniform with variance gain² · 2/(fan_in + fan_out)."""

    name: ClassVar[str] = "xavier_uniform"
    gain: float = 1.0

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "xavier_uniform(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """U[-b, b] with b = gain · √(6/(fan_in + fan_out))."""
        return sample_scaled(layout, generator, "uniform", self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """gain · √(2/(fan_in + fan_out))."""
        return compute_scaled_std(layout, self.gain**2, "fan_avg")


@final
@dataclass(frozen=True)
class XavierNormal(Initializer):
    """Normal with variance gain² · 2/(fan_in + fan_out); `truncated` draws as Keras and JAX do."""

    name: ClassVar[str] = "xavier_normal"
    gain: float = 1.0
    truncated: bool = False

    @property
    def gaussian(self) -> bool:
        """Unless it is truncated."""
        return not self.truncated

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "xavier_normal(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """A normal, or truncated normal, of standard deviation `intended_std`."""
        return sample_scaled(
            layout, generator, choose_distribution(self.truncated), self.intended_std(layout)
        )

    def intended_std(self, layout: WeightLayout) -> float:
        """gain · √(2/(fan_in + fan_out))."""
        return compute_scaled_std(layout, self.gain**2, "fan_avg")


_PAPER = Paper(
    authors="Glorot, Bengio",
    title="Understanding the difficulty of training deep feedforward neural networks",
    year=2010,
    link="https://proceedings.mlr.press/v9/glorot10a.html",
)

REGISTRY.add(
    InitializerEntry(
        component=XavierUniform,
        summary="Uniform, scaled by the mean of fan-in and fan-out.",
        formula="w ~ U[-b, b], b = gain·√(6/(fan_in + fan_out))",
        paper=_PAPER,
        suited=(
            "Plain networks with tanh, sigmoid or no activation, and attention: layers that must "
            "keep both signals and gradients about equally."
        ),
        avoid=(
            "Deep ReLU networks: each layer halves the mean square of the signal; use he_uniform. "
            "Layers whose fan-in and fan-out differ much, such as a wide layer before few outputs: "
            "neither direction is kept there."
        ),
        cost="One draw per weight and one erf: O(n) for n weights.",
        differs=(
            "Same distribution as torch's xavier_uniform_ and, at gain 1, Keras' GlorotUniform and "
            "JAX' glorot_uniform."
        ),
        examples=("xavier_uniform(gain=1.5)",),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=XavierNormal,
        summary="Normal, scaled by the mean of fan-in and fan-out.",
        formula="w ~ N(0, gain²·2/(fan_in + fan_out))",
        paper=_PAPER,
        suited=(
            "As xavier_uniform: plain networks with tanh, sigmoid or no activation, and attention, "
            "if a normal distribution is preferred, as in most theory."
        ),
        avoid=(
            "Deep ReLU networks: each layer halves the mean square of the signal; use he_normal. "
            "Layers whose fan-in and fan-out differ much, such as a wide layer before few outputs: "
            "neither direction is kept there."
        ),
        cost=(
            "One draw per weight; with truncated=true also one erf and one inverse erf: O(n) for n "
            "weights."
        ),
        differs=(
            "Same distribution as torch's xavier_normal_. Keras' GlorotNormal and JAX' "
            "glorot_normal truncate at two standard deviations: truncated=true."
        ),
        examples=("xavier_normal(truncated=true)", "xavier_normal(gain=0.5)"),
    )
)
