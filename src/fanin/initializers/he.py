"""He (Kaiming): keeps the second moment through rectifiers.

>>> from fanin import initializers
>>> from fanin.fans import get_tensor_layout
>>> initializers.get("he_normal").intended_std(get_tensor_layout((10, 50)))
0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import Mode, WeightLayout
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.variance_scaling import (
    choose_distribution,
    compute_scaled_std,
    sample_scaled,
)


@final
@dataclass(frozen=True)
class HeUniform(Initializer):
    """Uniform with variance 2/((1 + a²) · fan), for a leaky ReLU of slope `a` (0: ReLU)."""

    name: ClassVar[str] = "he_uniform"
    mode: Mode = "fan_in"
    a: float = 0.0

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """U[-b, b] with b = √(6/((1 + a²) · fan))."""
        return sample_scaled(layout, generator, "uniform", self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """√(2/((1 + a²) · fan))."""
        return compute_scaled_std(layout, rectifier_scale(self.a), self.mode)


@final
@dataclass(frozen=True)
class HeNormal(Initializer):
    """Normal with variance 2/((1 + a²) · fan), for a leaky ReLU of negative slope `a` (0: ReLU).

    `truncated` draws it as Keras and JAX do.
    """

    name: ClassVar[str] = "he_normal"
    mode: Mode = "fan_in"
    a: float = 0.0
    truncated: bool = False

    @property
    def gaussian(self) -> bool:
        """Unless it is truncated."""
        return not self.truncated

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """A normal, or truncated normal, of standard deviation `intended_std`."""
        return sample_scaled(
            layout, generator, choose_distribution(self.truncated), self.intended_std(layout)
        )

    def intended_std(self, layout: WeightLayout) -> float:
        """√(2/((1 + a²) · fan))."""
        return compute_scaled_std(layout, rectifier_scale(self.a), self.mode)


def rectifier_scale(a: float) -> float:
    """2/(1 + a²), the inverse of E f(z)² for f a leaky ReLU of negative slope a and z ~ N(0, 1)."""
    return 2 / (1 + a * a)


_PAPER = Paper(
    authors="He, Zhang, Ren, Sun",
    title="Delving deep into rectifiers: surpassing human-level performance on ImageNet "
    "classification",
    year=2015,
    link="https://arxiv.org/abs/1502.01852",
)

REGISTRY.add(
    InitializerEntry(
        component=HeUniform,
        summary="Uniform, scaled by one fan, for rectifiers.",
        formula="w ~ U[-b, b], b = √(6/((1 + a²)·fan))",
        paper=_PAPER,
        suited=(
            "Deep networks with ReLU or leaky ReLU (a: its negative slope). mode=fan_out keeps "
            "gradients instead of signals, as is common in residual networks for images."
        ),
        avoid=(
            "Linear, tanh and sigmoid layers: the mean square doubles with each linear layer, and "
            "units saturate (use xavier or lecun). The last layer, which no rectifier follows."
        ),
        cost="One draw per weight and one erf: O(n) for n weights.",
        differs=(
            "Same distribution as torch's kaiming_uniform_; at a = 0 with fan_in, as Keras' "
            "HeUniform and JAX' he_uniform. torch's own layers use a = √5 by default, a third of "
            "LeCun's variance."
        ),
        examples=("he_uniform(mode=fan_out)", "he_uniform(a=0.2)"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=HeNormal,
        summary="Normal, scaled by one fan, for rectifiers.",
        formula="w ~ N(0, 2/((1 + a²)·fan))",
        paper=_PAPER,
        suited=(
            "Deep networks with ReLU or leaky ReLU (a: its negative slope). mode=fan_out keeps "
            "gradients instead of signals, as is common in residual networks for images."
        ),
        avoid=(
            "Linear, tanh and sigmoid layers: the mean square doubles with each linear layer, and "
            "units saturate (use xavier or lecun). The last layer, which no rectifier follows."
        ),
        cost=(
            "One draw per weight; with truncated=true also one erf and one inverse erf: O(n) for n "
            "weights."
        ),
        differs=(
            "Same distribution as torch's kaiming_normal_. Keras' HeNormal and JAX' he_normal "
            "truncate at two standard deviations: truncated=true."
        ),
        examples=(
            "he_normal(mode=fan_out)",
            "he_normal(a=0.2)",
            "he_normal(truncated=true)",
            "he_normal(mode=fan_avg)",
        ),
    )
)
