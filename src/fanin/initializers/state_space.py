"""The parameters that set the memory of state-space layers: step sizes and decays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.fans import WeightLayout
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper

_POINTS = 20_000
"""Midpoints of the quadrature over one uniform number: a relative error below 1e-6."""


@final
@dataclass(frozen=True)
class MambaDtBias(Initializer):
    """The bias of the step Δ = softplus(bias + …), so that Δ without input is log-uniform.

    bias = Δ + log(1 - e^-Δ), the inverse of softplus, with log Δ ~ U[log low, log high].

    Args:
        low: the smallest step. Greater than 0.
        high: the largest step. At least low.
        floor: steps below it are raised to it.
    """

    name: ClassVar[str] = "mamba_dt_bias"
    low: float = 0.001
    high: float = 0.1
    floor: float = 1e-4

    def check(self) -> None:
        """0 < low <= high, and a floor of at least 0."""
        _check_range(self.low, self.high, "mamba_dt_bias")
        if self.floor < 0:
            raise SpecError(f"mamba_dt_bias(floor=…) must be at least 0, not {quote(self.floor)}.")

    @property
    def intended_mean(self) -> float:
        """By quadrature over the uniform number that a step is made of."""
        return self._moments[0]

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """Δ + log(1 - e^-Δ)."""
        logarithms = distributions.uniform(
            layout.shape, generator, low=math.log(self.low), high=math.log(self.high)
        )
        return self._invert(logarithms)

    def intended_std(self, layout: WeightLayout) -> float:
        """By quadrature over the uniform number that a step is made of."""
        return self._moments[1]

    def _invert(self, logarithms: Tensor) -> Tensor:
        steps = logarithms.exp().clamp_(min=self.floor)
        return steps + torch.log(-torch.expm1(-steps))

    @cached_property
    def _moments(self) -> tuple[float, float]:
        u = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS
        low, high = math.log(self.low), math.log(self.high)
        values = self._invert(low + (high - low) * u)
        return values.mean().item(), values.std(correction=0).item()


@final
@dataclass(frozen=True)
class MambaALog(Initializer):
    """The logarithm of a decay rate: log u, u ~ U[low, high]; the layer uses A = -e^w.

    Args:
        low: the slowest decay. Greater than 0.
        high: the fastest decay. At least low.
    """

    name: ClassVar[str] = "mamba_a_log"
    low: float = 1.0
    high: float = 16.0

    def check(self) -> None:
        """0 < low <= high."""
        _check_range(self.low, self.high, "mamba_a_log")

    @property
    def intended_mean(self) -> float:
        """E log u = (b·log b - a·log a)/(b - a) - 1."""
        return self._moments[0]

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """log u."""
        return distributions.uniform(layout.shape, generator, low=self.low, high=self.high).log_()

    def intended_std(self, layout: WeightLayout) -> float:
        """√(E log² u - (E log u)²), E log² u = (b·log² b - a·log² a)/(b - a) - 2·E log u."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[float, float]:
        a, b = self.low, self.high
        if a == b:
            return math.log(a), 0.0
        mean = (b * math.log(b) - a * math.log(a)) / (b - a) - 1
        square = (b * math.log(b) ** 2 - a * math.log(a) ** 2) / (b - a) - 2 * mean
        return mean, math.sqrt(max(square - mean**2, 0.0))


def _check_range(low: float, high: float, name: str) -> None:
    if not 0 < low <= high:
        raise SpecError(
            f"{name} needs 0 < low <= high, not low={quote(low)} and high={quote(high)}."
        )


REGISTRY.add(
    InitializerEntry(
        component=MambaDtBias,
        summary="Bias of a state-space layer's step size: steps log-uniform from 0.001 to 0.1.",
        formula="w = Δ + log(1 - e^-Δ), log Δ ~ U[log low, log high], Δ >= floor",
        paper=Paper(
            authors="Gu, Johnson, Goel, Saab, Dao, Rudra, Ré",
            title="Combining recurrent, convolutional, and continuous-time models with linear "
            "state-space layers",
            year=2021,
            link="https://arxiv.org/abs/2110.13985",
        ),
        suited="The step bias of S4, S5, Mamba and Mamba-2, through softplus.",
        avoid="Any other bias: its mean is near -4.6.",
        cost="One draw per number, an exponential and two logarithms: O(n) for n numbers.",
        differs=(
            "torch, Keras and JAX have no equivalent. mamba_ssm draws the same distribution from "
            "torch.rand."
        ),
        examples=("mamba_dt_bias", "mamba_dt_bias(low=0.01, high=0.1, floor=0.02)"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=MambaALog,
        summary="Logarithm of a state-space layer's decay: decays uniform from 1 to 16.",
        formula="w = log u, u ~ U[low, high]",
        paper=Paper(
            authors="Dao, Gu",
            title="Transformers are SSMs: generalized models and efficient algorithms through "
            "structured state space duality",
            year=2024,
            link="https://arxiv.org/abs/2405.21060",
        ),
        suited="A_log of Mamba-2, one number per head.",
        avoid="Mamba (1) and S4D, whose decays are 1, 2, …, N in each channel.",
        cost="One draw per number and a logarithm: O(n) for n numbers.",
        differs=(
            "torch, Keras and JAX have no equivalent. mamba_ssm draws the same; transformers "
            "starts Mamba-2 at log 1, log 2, … instead."
        ),
        examples=("mamba_a_log", "mamba_a_log(low=1.0, high=8.0)"),
    )
)
