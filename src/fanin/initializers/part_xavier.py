"""Xavier with a gain of its own for some parts of a packed weight: values but not queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, check_gain
from fanin.initializers.building_blocks import REGISTRY, BuildingBlock
from fanin.initializers.initializer import Initializer
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

    name: ClassVar[str] = "part:xavier"
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
        check_gain(self.gain, "part:xavier(gain=…)")
        check_gain(self.others, "part:xavier(others=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """A draw of standard deviation `intended_std`."""
        std = self.intended_std(layout)
        return sample_scaled(layout, generator, self.distribution, std)

    def intended_std(self, layout: WeightLayout) -> float:
        """The part's gain · √(2/(fan_in + fan_out))."""
        gain = self.gain if layout.part in self.parts.split("+") else self.others
        return compute_scaled_std(layout, gain * gain, "fan_avg")


REGISTRY.add(
    BuildingBlock(
        component=PartXavier,
        summary="Xavier with one gain for some parts of a packed weight, another for the rest.",
    )
)
