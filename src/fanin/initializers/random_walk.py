"""Random walk: scaled so that the logarithm of a signal's norm does not drift with depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper


@final
@dataclass(frozen=True)
class RandomWalk(Initializer):
    """Normal with variance g²/fan_in, g above the gain that keeps the variance, by an amount that
    corrects for finite width.

    The variance of a signal may be kept and its typical norm still shrink, because E log|Wx|² < log
    E|Wx|². g keeps the mean of the logarithm: exp(1/(2·fan_in)) for linear layers,
    √2·exp(1.2/(max(fan_in, 6) - 2.4)) for ReLU, a numerical fit.
    """

    name: ClassVar[str] = "random_walk"
    activation: Literal["linear", "relu"] = "linear"

    @property
    def gaussian(self) -> bool:
        """Always."""
        return True

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """std · z."""
        return distributions.normal(layout.shape, generator, std=self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """g/√fan_in."""
        fan_in = require_fans(layout).fan_in
        return self._gain(fan_in) / math.sqrt(fan_in) if fan_in else 0.0

    def _gain(self, width: float) -> float:
        if self.activation == "linear":
            return math.exp(1 / (2 * width))
        return math.sqrt(2) * math.exp(1.2 / (max(width, 6) - 2.4))


REGISTRY.add(
    InitializerEntry(
        component=RandomWalk,
        summary=(
            "Normal, scaled by fan-in and corrected for finite width: log-norms do not drift with "
            "depth."
        ),
        formula=(
            "w ~ N(0, g²/fan_in), g = exp(1/(2·fan_in)) (linear) or √2·exp(1.2/(max(fan_in, 6) − "
            "2.4)) (relu)"
        ),
        paper=Paper(
            authors="Sussillo, Abbott",
            title="Random walk initialization for training very deep feedforward networks",
            year=2014,
            link="https://arxiv.org/abs/1412.6558",
        ),
        suited=(
            "Very deep, narrow, plain networks, linear or with ReLU (activation=relu): over 100 "
            "ReLU layers of width 100 the corrections multiply to exp(100·1.2/97.6) = 3.4."
        ),
        avoid=(
            "Wide layers: it is then lecun_normal (linear) or he_normal (relu) with a negligible "
            "correction. Networks with normalization or skip connections. Other activations, for "
            "which the paper has no formula."
        ),
        cost="One draw per weight: O(n) for n weights.",
        differs=(
            "torch, Keras and JAX have no equivalent. TensorFlow 1 had these constants in a "
            "function that it did not export, with 1.13 for tanh. AllenNLP's uniform_unit_scaling, "
            "which cites the paper, is uniform with a gain that ignores the width."
        ),
        examples=("random_walk(activation=relu)",),
    )
)
