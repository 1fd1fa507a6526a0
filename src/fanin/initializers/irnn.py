"""IRNN: a recurrent network of rectifiers that starts as an integrator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from fanin.fans import check_gain
from fanin.initializers import distributions
from fanin.initializers.constant import Zero
from fanin.initializers.fixed_scale import Normal
from fanin.initializers.identity import Identity
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import Assignment, ModelInitializer, ModelParameter


@final
@dataclass(frozen=True)
class IRNN(ModelInitializer):
    """A recurrent network of rectifiers that starts as an integrator: the state's matrix is gain ·
    I, all else is small.

    Args:
        gain: of the identity; 1 remembers for ever, less forgets (0.01 to 0.9 in the paper's speech
            task).
        std: of all other weights.
    """

    name: ClassVar[str] = "irnn"
    by_layer: ClassVar[bool] = True
    gain: float = 1.0
    std: float = 0.001

    def check(self) -> None:
        """Gain and standard deviation must not be negative."""
        check_gain(self.gain, "irnn(gain=…)")
        distributions.check_std(self.std, "irnn(std=…)")

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """Identity for hidden-to-hidden weights, small normal numbers for the other weights, zero
        for biases.
        """
        rules: dict[str, Initializer] = {
            "recurrent weight": Identity(gain=self.gain),
            "weight": Normal(std=self.std),
            "bias": Zero(),
            "recurrent bias": Zero(),
        }
        return {
            site.name: Assignment(rules[site.role], f"IRNN: {site.role}")
            for site in sites
            if site.role in rules
        }


REGISTRY.add(
    InitializerEntry(
        component=IRNN,
        level="model",
        summary=(
            "Recurrent networks of rectifiers whose hidden-to-hidden matrix starts as the identity."
        ),
        formula="W_hh = gain·I, other weights N(0, std²), b = 0",
        paper=Paper(
            authors="Le, Jaitly, Hinton",
            title="A simple way to initialize recurrent networks of rectified linear units",
            year=2015,
            link="https://arxiv.org/abs/1504.00941",
        ),
        suited="nn.RNN(nonlinearity='relu') over long sequences.",
        avoid=(
            "LSTM and GRU, whose gates provide the memory; feed-forward layers, where the small "
            "weights vanish."
        ),
        cost="One draw per weight that is not recurrent.",
        differs="torch, Keras and JAX have no such recipe; Keras' Identity is its recurrent part.",
        examples=("irnn", "irnn(gain=0.5, std=0.01)"),
    )
)
