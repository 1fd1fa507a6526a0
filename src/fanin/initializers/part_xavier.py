"""Xavier with a gain of its own for some parts of a packed weight: values but not queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, check_gain
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.variance_scaling import compute_scaled_std, sample_scaled


@final
@dataclass(frozen=True)
class PartXavier(Initializer):
    """Variance gain² · 2/(fan_in + fan_out) in the named parts of a packed weight, and
    others² · 2/(fan_in + fan_out) in its other parts, each with its own fans.

    A weight that packs nothing, and is no such part itself, counts as other.

    Args:
        parts: names of parts joined by "+": ``v`` of q, k and v; ``v+up``.
        gain: the gain of these parts. At least 0.
        others: the gain of the others. At least 0.
        distribution: normal or uniform.
    """

    name: ClassVar[str] = "part_xavier"
    parts: str = "v"
    gain: float = 1.0
    others: float = 1.0
    distribution: Literal["normal", "uniform"] = "normal"

    @property
    def gaussian(self) -> bool:
        """If the distribution is normal."""
        return self.distribution == "normal"

    def check(self) -> None:
        """The gains must not be negative."""
        check_gain(self.gain, "part_xavier(gain=…)")
        check_gain(self.others, "part_xavier(others=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """A draw of standard deviation `intended_std`."""
        std = self.intended_std(layout)
        return sample_scaled(layout, generator, self.distribution, std)

    def intended_std(self, layout: WeightLayout) -> float:
        """The part's gain · √(2/(fan_in + fan_out))."""
        gain = self.gain if layout.part in self.parts.split("+") else self.others
        return compute_scaled_std(layout, gain * gain, "fan_avg")


REGISTRY.add(
    InitializerEntry(
        component=PartXavier,
        summary=(
            "Xavier with one gain for some parts of a packed weight, such as the values of "
            "attention, and another for the rest."
        ),
        formula="Var w = g²·2/(fan_in + fan_out), g = gain in the named parts, else others",
        paper=Paper(
            authors="Wang, Ma, Dong, Huang, Zhang, Wei",
            title="DeepNet: scaling transformers to 1,000 layers",
            year=2022,
            link="https://arxiv.org/abs/2203.00555",
        ),
        suited=(
            "Layers that make queries, keys and values at once, where a method such as deep_norm, "
            "t_fixup or magneto scales the values and not the queries and keys."
        ),
        avoid="Weights that pack nothing: there it is xavier_normal(gain=others).",
        cost="One draw per weight: O(n) for n weights.",
        differs=(
            "torch, Keras and JAX know no parts of a tensor: there the weight must be split by "
            "hand. Keras' MultiHeadAttention keeps q, k and v apart."
        ),
        examples=(
            "part_xavier(gain=0.5)",
            "part_xavier(parts='v+up', gain=0.5, others=0.9, distribution=uniform)",
        ),
    )
)
