"""Biases of gates: how long a recurrent layer remembers before it has learned anything.

A gate is found by its name among the parts of a packed bias (`fanin.fans.packed_recurrent`),
whatever the order of the pack: f is the forget gate of an LSTM, i its input gate. torch's GRU is h'
= (1 - z)·n + z·h, so its update gate z plays both roles: z keeps the state and 1 - z lets the new
one in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.fans import PackedPart, WeightLayout
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper


@final
@dataclass(frozen=True)
class ForgetGate(Initializer):
    """`value` for the gate that keeps the state (f of an LSTM, z of a GRU), 0 for the others and
    for whatever has no gates.
    """

    name: ClassVar[str] = "forget_gate"
    deterministic: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    gate_bias: ClassVar[bool] = True
    value: float = 1.0

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """value at f or z, 0 elsewhere; the generator is not used."""
        bias = torch.zeros(layout.shape, dtype=torch.float32, device="cpu")
        keeps, _ = _find_memory_gates(layout)
        if keeps is not None:
            keeps.of(bias).fill_(self.value)
        return bias

    def intended_std(self, layout: WeightLayout) -> float:
        """The standard deviation of the entries, zeros included: exact, as nothing is drawn."""
        keeps, _ = _find_memory_gates(layout)
        size = 0 if keeps is None else keeps.layout.shape[0]
        return abs(self.value) * distributions.deviation(math.prod(layout.shape), size, size)


@final
@dataclass(frozen=True)
class Chrono(Initializer):
    """Units whose memories last from 2 to `t_max` steps: b_f = log u with u ~ U[1, t_max - 1], and
    b_i = -b_f, unit by unit.

    sigmoid(log u) = 1 - 1/(1 + u), so that without inputs a unit forgets with a time constant of 1
    + u steps. In a GRU b_z = log u. 0 elsewhere, and for whatever has no gates.

    Args:
        t_max: the longest dependence that is expected, in steps. Above 2.
    """

    name: ClassVar[str] = "chrono"
    packs: ClassVar[bool] = True
    gate_bias: ClassVar[bool] = True
    t_max: float

    def check(self) -> None:
        """There must be room between 1 and t_max - 1."""
        if self.t_max <= 2:
            raise SpecError(
                f"chrono(t_max=…) must be above 2 (steps of time), not {quote(self.t_max)}."
            )

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """log(1 + (t_max - 2)·Φ(z)) at f or z, its negative at i, 0 elsewhere; only if there is
        a gate, z is drawn.
        """
        bias = torch.zeros(layout.shape, dtype=torch.float32, device="cpu")
        keeps, admits = _find_memory_gates(layout)
        if keeps is not None:
            steps = distributions.uniform(layout.shape, generator, low=1.0, high=self.t_max - 1)
            keeps.of(bias).copy_(keeps.of(steps).log_())
        if keeps is not None and admits is not None:
            admits.of(bias).copy_(-keeps.of(bias))
        return bias

    def intended_std(self, layout: WeightLayout) -> float:
        """That of all entries, zeros included, over many draws."""
        keeps, admits = _find_memory_gates(layout)
        kept = 0 if keeps is None else keeps.layout.shape[0]
        admitted = 0 if admits is None else admits.layout.shape[0]
        mean, mean_square = self._log_moments()
        return distributions.deviation(
            math.prod(layout.shape), (kept - admitted) * mean, (kept + admitted) * mean_square
        )

    def _log_moments(self) -> tuple[float, float]:
        """E log u and E log² u for u ~ U[1, b]: b·log b/(b - 1) - 1 and b·log² b/(b - 1) - 2·E log
        u.
        """
        longest = self.t_max - 1
        log = math.log(longest)
        weight = longest / (longest - 1)
        mean = weight * log - 1
        return mean, weight * log**2 - 2 * mean


def _find_memory_gates(layout: WeightLayout) -> tuple[PackedPart | None, PackedPart | None]:
    """The gate of a bias that keeps the state, and the one that lets new input in, if that is
    another one.
    """
    gates = {part.name: part for part in layout.parts} if len(layout.shape) == 1 else {}
    if "f" in gates:
        return gates["f"], gates.get("i")
    return gates.get("z"), None


REGISTRY.add(
    InitializerEntry(
        component=ForgetGate,
        summary="Biases of gates: the forget gate starts open (1), all other biases are zero.",
        formula="b_f = value (LSTM), b_z = value (GRU), other biases 0",
        paper=Paper(
            authors="Gers, Schmidhuber, Cummins",
            title="Learning to forget: continual prediction with LSTM",
            year=2000,
            link="https://doi.org/10.1162/089976600300015015",
        ),
        suited=(
            "The biases of every LSTM (Jozefowicz et al. 2015, "
            "https://proceedings.mlr.press/v37/jozefowicz15.html: a bias of 1 closes the gap to "
            "the GRU), and of a GRU that has to remember. If the time scale is known, use chrono."
        ),
        avoid=(
            "Weights: they would become zero. Sequences of independent steps, where memory hurts."
        ),
        cost="Nothing is drawn: O(n) to write n biases.",
        differs=(
            "Same as unit_forget_bias of Keras' LSTM; its GRU has no such option. torch's layers "
            "have two biases, both U(±1/√hidden): fanin.initialize makes the second zero, so that "
            "value is their sum."
        ),
        examples=("forget_gate(value=2.0)",),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=Chrono,
        summary=(
            "Biases of gates: memories of all lengths up to t_max steps, spread over the units."
        ),
        formula=(
            "b_f = log u, b_i = −b_f (LSTM) or b_z = log u (GRU), u ~ U[1, t_max − 1]; other "
            "biases 0"
        ),
        paper=Paper(
            authors="Tallec, Ollivier",
            title="Can recurrent neural networks warp time?",
            year=2018,
            link="https://arxiv.org/abs/1804.11188",
        ),
        suited=(
            "LSTMs and GRUs on long sequences whose longest dependence is known, at least roughly."
        ),
        avoid=(
            "Weights: they would become zero. Short dependences, and t_max far above the length of "
            "the sequences: the gates start nearly closed to input and learn slowly. If the time "
            "scale is unknown, use forget_gate."
        ),
        cost="One draw per bias, one erf and one logarithm: O(n) for n biases.",
        differs=(
            "torch, Keras and JAX have no equivalent. torch's layers have two biases: "
            "fanin.initialize makes the second zero."
        ),
        examples=("chrono(t_max=100.0)",),
    )
)
