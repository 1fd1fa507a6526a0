"""LeCun: keeps the variance through a linear layer.

>>> from fanin import initializers
>>> from fanin.fans import get_tensor_layout
>>> initializers.get("lecun_normal").intended_std(get_tensor_layout((10, 25)))
0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, check_gain
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry
from fanin.initializers.variance_scaling import (
    EFFICIENT_BACKPROP,
    choose_distribution,
    compute_scaled_std,
    sample_scaled,
)


@final
@dataclass(frozen=True)
class LecunUniform(Initializer):
    """Uniform with variance gain²/fan_in: gain is the mean-field theory's σ_w."""

    name: ClassVar[str] = "lecun_uniform"
    gain: float = 1.0

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "lecun_uniform(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """U[-b, b] with b = gain · √(3/fan_in)."""
        return sample_scaled(layout, generator, "uniform", self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """gain · √(1/fan_in)."""
        return compute_scaled_std(layout, self.gain**2, "fan_in")


@final
@dataclass(frozen=True)
class LecunNormal(Initializer):
    """Normal with variance gain²/fan_in, gain the mean-field theory's σ_w; `truncated` draws it as
    Keras and JAX do.
    """

    name: ClassVar[str] = "lecun_normal"
    truncated: bool = False
    gain: float = 1.0

    @property
    def gaussian(self) -> bool:
        """Unless it is truncated."""
        return not self.truncated

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "lecun_normal(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """A normal, or truncated normal, of standard deviation `intended_std`."""
        return sample_scaled(
            layout, generator, choose_distribution(self.truncated), self.intended_std(layout)
        )

    def intended_std(self, layout: WeightLayout) -> float:
        """gain · √(1/fan_in)."""
        return compute_scaled_std(layout, self.gain**2, "fan_in")


REGISTRY.add(
    InitializerEntry(
        component=LecunUniform,
        summary="Uniform, scaled by fan-in.",
        formula="w ~ U[-b, b], b = gain·√(3/fan_in)",
        paper=EFFICIENT_BACKPROP,
        suited=(
            "SELU networks, which need exactly this variance, scaled tanh, and linear layers such "
            "as the last one."
        ),
        avoid=(
            "Deep ReLU networks: each layer halves the mean square of the signal; use he_uniform."
        ),
        cost="One draw per weight and one erf: O(n) for n weights.",
        differs=(
            "Same distribution as Keras' LecunUniform and JAX' lecun_uniform. torch has no such "
            "function; the default of its layers has a third of this variance."
        ),
        examples=("lecun_uniform(gain=1.5)",),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=LecunNormal,
        summary="Normal, scaled by fan-in.",
        formula="w ~ N(0, gain²/fan_in)",
        paper=EFFICIENT_BACKPROP,
        suited=(
            "SELU networks, which need exactly this variance, scaled tanh, and linear layers such "
            "as the last one."
        ),
        avoid="Deep ReLU networks: each layer halves the mean square of the signal; use he_normal.",
        cost=(
            "One draw per weight; with truncated=true also one erf and one inverse erf: O(n) for n "
            "weights."
        ),
        differs=(
            "Keras' LecunNormal and JAX' lecun_normal truncate at two standard deviations: "
            "truncated=true. torch has no such function (kaiming_normal_ with "
            "nonlinearity='linear' has the same distribution)."
        ),
        examples=("lecun_normal(truncated=true)", "lecun_normal(gain=1.5)"),
    )
)
