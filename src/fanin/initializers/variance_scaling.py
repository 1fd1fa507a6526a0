"""Variance scaling: Var w = scale / fan. The core of the xavier, he and lecun families."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.fans import Mode, WeightLayout, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper

Distribution = Literal["normal", "truncated", "uniform"]

# Where Keras and JAX cut, in standard deviations of the normal before the cut.
CUT = 2.0


@final
@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Weights of variance scale / fan.

    Args:
        scale: the product of variance and fan; 1 keeps the variance of a linear layer, 2 of a ReLU
            layer. Above 0.
        mode: the fan: fan_in, fan_out, fan_avg for their mean, or fan_geo_avg for the geometric
            mean √(fan_in·fan_out).
        distribution: normal, uniform, or truncated: a normal cut at two of its standard deviations
            and widened by 1/0.8796 beforehand, so that the variance after the cut is exact.
    """

    name: ClassVar[str] = "variance_scaling"
    scale: float = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = "truncated"

    @property
    def gaussian(self) -> bool:
        """If the distribution is normal."""
        return self.distribution == "normal"

    def check(self) -> None:
        """The scale must be positive."""
        if self.scale <= 0:
            raise SpecError(f"variance_scaling(scale=…) must be above 0, not {quote(self.scale)}.")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """A draw from the distribution, of standard deviation `intended_std`."""
        return sample_scaled(layout, generator, self.distribution, self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """√(scale / fan)."""
        return compute_scaled_std(layout, self.scale, self.mode)


def compute_scaled_std(layout: WeightLayout, scale: float, mode: Mode) -> float:
    """√(scale / fan); raises `FitError` if the layout has no fans, and is 0 for an empty weight."""
    fan = require_fans(layout).of(mode)
    return math.sqrt(scale / fan) if fan else 0.0


def sample_scaled(
    layout: WeightLayout, generator: torch.Generator, distribution: Distribution, std: float
) -> Tensor:
    """A weight with mean 0 and standard deviation `std`, whichever the distribution."""
    match distribution:
        case "normal":
            return distributions.normal(layout.shape, generator, std=std)
        case "truncated":
            return distributions.truncated_normal(
                layout.shape, generator, std=std / distributions.truncated_std(CUT), cut=CUT
            )
        case "uniform":
            bound = math.sqrt(3) * std
            return distributions.uniform(layout.shape, generator, low=-bound, high=bound)


def choose_distribution(truncated: bool) -> Distribution:
    """The distribution of the normal recipes: torch's, or with ``truncated=true`` that of Keras and
    JAX.
    """
    return "truncated" if truncated else "normal"


EFFICIENT_BACKPROP = Paper(
    authors="LeCun, Bottou, Orr, Müller",
    title="Efficient BackProp",
    year=1998,
    link="https://doi.org/10.1007/3-540-49430-8_2",
)

REGISTRY.add(
    InitializerEntry(
        component=VarianceScaling,
        summary=(
            "Variance inversely proportional to a fan: the family that contains Xavier, He and "
            "LeCun."
        ),
        formula=(
            "Var w = scale / fan, fan = fan_in | fan_out | (fan_in + fan_out)/2 | √(fan_in·fan_out)"
        ),
        paper=EFFICIENT_BACKPROP,
        suited=(
            "Any feed-forward layer, with the scale for its activation (1/E f(z)²: 2 for ReLU); "
            "programs from Keras or JAX."
        ),
        avoid=(
            "Cases that a family covers: he, lecun and xavier set the scale. Very deep networks "
            "without normalization, where independent weights keep no more than the mean square: "
            "use orthogonal or delta_orthogonal."
        ),
        cost=(
            "One draw per weight; for uniform one erf, for truncated one erf and one inverse erf: "
            "O(n) for n weights."
        ),
        differs=(
            "Defaults as in Keras (scale 1, fan_in, truncated), which has no mode fan_geo_avg. JAX "
            "has the same distributions and modes. torch has no such function. truncated is called "
            "truncated_normal there."
        ),
        examples=(
            "variance_scaling(scale=2.0, distribution=normal)",
            "variance_scaling(mode=fan_out)",
            "variance_scaling(scale=0.5, mode=fan_avg, distribution=uniform)",
            "variance_scaling(mode=fan_geo_avg)",
        ),
    )
)
