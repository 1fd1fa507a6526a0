"""SIREN: networks of sines, for signals as functions of coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.fans import WeightLayout, require_fans
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.variance_scaling import sample_scaled


@final
@dataclass(frozen=True)
class Siren(Initializer):
    """Uniform, for layers whose activation is sin(omega · x).

    Args:
        omega: the frequency inside the sine. Above 0.
        first: True for the layer that takes the coordinates: its bound 1/fan_in spreads omega · x
            over the periods. The first layer of fanin's own model `siren` is known, and needs no
            word.
    """

    name: ClassVar[str] = "siren"
    omega: float = 30.0
    first: bool = False

    def check(self) -> None:
        """The frequency must be positive."""
        if self.omega <= 0:
            raise SpecError(f"siren(omega=…) must be above 0, not {quote(self.omega)}.")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """U[-b, b] with b = 1/fan_in (first) or √(6/fan_in)/omega."""
        return sample_scaled(layout, generator, "uniform", self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """b/√3."""
        fan_in = require_fans(layout).fan_in
        if not fan_in:
            return 0.0
        first = self.first or layout.part == "coordinates"
        bound = 1 / fan_in if first else math.sqrt(6 / fan_in) / self.omega
        return bound / math.sqrt(3)


REGISTRY.add(
    InitializerEntry(
        component=Siren,
        summary=(
            "Uniform, for sine activations: the input of every sine has a variance of 0.8 to 1 at "
            "any depth."
        ),
        formula="w ~ U[-b, b], b = √(6/fan_in)/omega; first=true: b = 1/fan_in",
        paper=Paper(
            authors="Sitzmann, Martel, Bergman, Lindell, Wetzstein",
            title="Implicit neural representations with periodic activation functions",
            year=2020,
            link="https://arxiv.org/abs/2006.09661",
        ),
        suited=(
            "Networks with sin(omega·x) after each layer: siren(first=true) for the layer that "
            "takes coordinates in [-1, 1], siren for the others."
        ),
        avoid=(
            "Any other activation: at omega = 30 its standard deviation is a 21st of "
            "lecun_normal's, and signals vanish. If the frequency is not inside the activation, "
            "use omega=1."
        ),
        cost="One draw per weight and one erf: O(n) for n weights.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' program leaves biases at "
            "torch's default, U(±1/√fan_in)."
        ),
        examples=("siren(omega=10.0)", "siren(first=true)"),
    )
)
