"""Sinusoidal: every output starts as a sine of its own frequency and phase."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import FitError
from fanin.fans import WeightLayout, check_gain, require_fans
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper

_CHUNK = 2**20
"""How many entries are computed at a time, in fp64."""


@final
@dataclass(frozen=True)
class Sinusoidal(Initializer):
    """Sines instead of random numbers: output i is a·sin(2π·i·j/n + 2π·i/m) at its input j.

    m counts all outputs, n the inputs of one of them, kernel taps included; i runs from 1 to m and
    j from 0 to n - 1. a gives the entries of the whole weight Xavier's variance, gain²·2/(m + n).

    Outputs whose sine is zero at every input start dead: those with 2·i a multiple of both n and m,
    such as i = m/2 and i = m of a square matrix.

    Args:
        gain: the factor on all entries.
    """

    name: ClassVar[str] = "sinusoidal"
    deterministic: ClassVar[bool] = True
    gain: float = 1.0

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "sinusoidal(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """The sines, divided by their standard deviation; the generator is not used."""
        std = self.intended_std(layout)
        groups, outputs, inputs = layout.matrices_shape
        waves, deviation = _make_waves(groups * outputs, inputs)
        return layout.from_matrices(
            waves.mul_(std / deviation).view(groups, outputs, inputs)
        ).contiguous()

    def intended_std(self, layout: WeightLayout) -> float:
        """gain · √(2/(m + n)): exact, as nothing is drawn."""
        require_fans(layout)
        groups, outputs, inputs = layout.matrices_shape
        total = groups * outputs
        if not total or not inputs:
            return 0.0
        if max(total, inputs) <= 2:
            raise FitError(
                f"Every sine of a weight of shape {layout.shape} is zero at all of its inputs: "
                "sinusoidal needs at least three outputs, or three inputs. Use xavier_uniform."
            )
        return self.gain * math.sqrt(2 / (total + inputs))


def _make_waves(outputs: int, inputs: int) -> tuple[Tensor, float]:
    """sin(2π·i·(j·m + n)/(m·n)) in fp32, and the standard deviation of all of them.

    The fraction of a turn is computed in whole numbers, so that no phase is lost in large matrices
    and zeros are exact.
    """
    waves = torch.empty(outputs, inputs, dtype=torch.float32, device="cpu")
    turn = outputs * inputs
    places = torch.arange(inputs, device="cpu").mul_(outputs).add_(inputs)
    total = squares = 0.0
    rows = max(_CHUNK // inputs, 1)
    for start in range(0, outputs, rows):
        order = torch.arange(start, min(start + rows, outputs), device="cpu").add_(1)
        part = (order.unsqueeze(1) * places).remainder_(turn)
        values = part.to(torch.float64).mul_(2 * math.pi / turn).sin_()
        values[(2 * part).remainder_(turn) == 0] = 0.0
        total += values.sum().item()
        squares += values.square().sum().item()
        waves[start : start + rows] = values
    return waves, math.sqrt(squares / turn - (total / turn) ** 2)


REGISTRY.add(
    InitializerEntry(
        component=Sinusoidal,
        summary="A sine per output, each with its own frequency and phase; nothing is random.",
        formula=(
            "W[i, j] = a·sin(2π·i·j/n + 2π·i/m), i = 1…m outputs, j = 0…n-1 inputs · kernel, a "
            "such that Var w = gain²·2/(m + n)"
        ),
        paper=Paper(
            authors="Fernández-Hernández, Mestre, Dolz, Duato, Quintana-Ortí",
            title="Sinusoidal initialization, time for a new start",
            year=2025,
            link="https://arxiv.org/abs/2505.12909",
        ),
        suited=(
            "Convolutional networks and transformers with normalization, where runs should differ "
            "by nothing but the data's order."
        ),
        avoid=(
            "Replicates that are meant to differ: the seed changes nothing. Square layers whose "
            "one or two dead outputs matter. Inputs that are all alike, such as constant images: "
            "every sine but one sums to zero."
        ),
        cost="One sine in fp64 per weight: O(n) for n weights.",
        differs=(
            "The same numbers as the authors' program up to rounding: that takes the variance with "
            "n - 1 and computes phases in fp32, which are wrong by some 10⁻⁴ at 4096². Here groups "
            "and transposed layers are taken into account, and packed maps (q, k, v) are each a "
            "weight of its own."
        ),
        examples=("sinusoidal(gain=1.5)",),
    )
)
