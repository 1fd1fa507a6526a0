"""Identity: every output starts as a copy of an input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import EvenCentre, WeightLayout, check_gain, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper


@final
@dataclass(frozen=True)
class Identity(Initializer):
    """gain times the identity, at the centre of the kernel; one per group.

    Args:
        gain: the factor.
        repeat: what the longer side of a rectangular matrix holds: False leaves zeros, so that
            outputs beyond the inputs start dead and inputs beyond the outputs unheard. True repeats
            the identity along it and divides each row by its norm: an output beyond the inputs
            copies one of them again, and an output that sums c inputs is divided by √c, so that the
            variance of uncorrelated inputs is kept either way.
        even: the centre of an even kernel: left, (k - 1)//2, where ``padding="same"`` leaves a
            signal in place, or right, k//2.
    """

    name: ClassVar[str] = "identity"
    deterministic: ClassVar[bool] = True
    gain: float = 1.0
    repeat: bool = False
    even: EvenCentre = "left"

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "identity(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """gain where output ≡ input, 0 elsewhere; the generator is not used."""
        require_fans(layout)
        _, outputs, inputs = layout.tap_shape
        matrix = (
            _make_repeated_identity(outputs, inputs)
            if self.repeat
            else _make_partial_identity(outputs, inputs)
        )
        return _place_at_centre(layout, matrix.mul_(self.gain), self.even)

    def intended_std(self, layout: WeightLayout) -> float:
        """The standard deviation of the entries, zeros included: exact, as nothing is drawn."""
        require_fans(layout)
        _, outputs, inputs = layout.tap_shape
        if not self.repeat or not outputs:
            return _partial_identity_std(layout, self.gain)
        # Every row has norm 1; `longer` rows sum one input more than the others.
        count, longer = divmod(inputs, outputs) if inputs > outputs else (1, 0)
        total = longer * math.sqrt(count + 1) + (outputs - longer) * math.sqrt(count)
        return self.gain * distributions.deviation(
            math.prod(layout.matrices_shape[1:]), total, outputs
        )


@final
@dataclass(frozen=True)
class Dirac(Initializer):
    """gain times the partial identity at the centre of the kernel, one per group, as
    ``torch.nn.init.dirac_`` fills it.

    The centre of an even kernel is k//2, and outputs beyond the inputs stay zero.
    """

    name: ClassVar[str] = "dirac"
    deterministic: ClassVar[bool] = True
    gain: float = 1.0

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "dirac(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """gain where output = input, at k//2; the generator is not used."""
        require_fans(layout)
        _, outputs, inputs = layout.tap_shape
        return _place_at_centre(
            layout, _make_partial_identity(outputs, inputs).mul_(self.gain), "right"
        )

    def intended_std(self, layout: WeightLayout) -> float:
        """The standard deviation of the entries, zeros included: exact, as nothing is drawn."""
        require_fans(layout)
        return _partial_identity_std(layout, self.gain)


def _make_partial_identity(outputs: int, inputs: int) -> Tensor:
    """1 if output = input."""
    return torch.eye(outputs, inputs, dtype=torch.float32, device="cpu")


def _make_repeated_identity(outputs: int, inputs: int) -> Tensor:
    """1/√c if output and input are equal modulo the shorter side, for an output that so meets c
    inputs.
    """
    period = min(outputs, inputs)
    rows, columns = (
        torch.arange(size, device="cpu").remainder(period) for size in (outputs, inputs)
    )
    matrix = (rows.unsqueeze(1) == columns).to(torch.float32)
    return matrix.div_(matrix.norm(dim=1, keepdim=True))


def _place_at_centre(layout: WeightLayout, matrix: Tensor, even: EvenCentre) -> Tensor:
    """The weight that is `matrix`, (outputs, inputs), at the centre of every group, and zero
    elsewhere.
    """
    return layout.from_tap(matrix.expand(layout.groups, -1, -1), layout.find_centre(even))


def _partial_identity_std(layout: WeightLayout, gain: float) -> float:
    _, outputs, inputs = layout.tap_shape
    ones = min(outputs, inputs)
    return gain * distributions.deviation(math.prod(layout.matrices_shape[1:]), ones, ones)


REGISTRY.add(
    InitializerEntry(
        component=Identity,
        summary="The identity: output i starts as input i.",
        formula=(
            "W[o, i, centre] = gain if o = i else 0; repeat=true: gain/√c if o ≡ i (mod "
            "min(outputs, inputs)), with c such entries in a row; other taps 0"
        ),
        paper=Paper(
            authors="Le, Jaitly, Hinton",
            title="A simple way to initialize recurrent networks of rectified linear units",
            year=2015,
            link="https://arxiv.org/abs/1504.00941",
        ),
        suited=(
            "Recurrent matrices of ReLU networks, layers that are added to a trained network "
            "without changing it, deep linear or residual networks with square layers."
        ),
        avoid=(
            "A whole network of it: nothing is drawn, so every seed gives the same network, and "
            "with repeat=true copies of a unit stay identical until something else distinguishes "
            "them (random layers, dropout). With repeat=false, layers with more outputs than "
            "inputs: the extra outputs start at zero. Convolutions without same padding crop or "
            "shift the signal. On nn.Bilinear it copies products."
        ),
        cost="Nothing is drawn: O(n) to write n weights.",
        differs=(
            "Same as torch's eye_, Keras' Identity (which has the gain too) and jax.numpy.eye for "
            "a matrix; they accept nothing else. torch's dirac_ puts an even kernel's centre at "
            "k//2: use dirac, or even=right. IDInit (Pan et al. 2025, "
            "https://arxiv.org/abs/2503.04626) repeats the identity too; dividing the rows by "
            "their norm is specific to fanin."
        ),
        examples=(
            "identity(gain=0.5)",
            "identity(repeat=true)",
            "identity(repeat=true, even=right)",
        ),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=Dirac,
        summary="torch's dirac_: a convolution that copies its inputs; the extra outputs are zero.",
        formula=(
            "W[o, i, centre] = gain if o = i else 0, within each group; centre = k//2; other taps 0"
        ),
        paper=Paper(
            authors="Zagoruyko, Komodakis",
            title="DiracNets: training very deep neural networks without skip-connections",
            year=2017,
            link="https://arxiv.org/abs/1706.00388",
        ),
        suited=(
            "Plain convolutional networks that should start as if they had skip connections; "
            "reproducing the weights of an existing torch program."
        ),
        avoid=(
            "Layers with more outputs than inputs, whose extra outputs start at zero "
            '(identity(repeat=true) has none), and even kernels with padding="same", where the '
            "signal would move by one (identity has the other centre). A whole network of it: "
            "every seed gives the same network."
        ),
        cost="Nothing is drawn: O(n) to write n weights.",
        differs=(
            "Same numbers as torch's dirac_ times gain. dirac_ takes the groups as an argument; "
            "here they come from the layer. On a matrix it equals torch's eye_; dirac_ refuses "
            "matrices. Keras and JAX have no equivalent."
        ),
        examples=("dirac(gain=0.5)",),
    )
)
