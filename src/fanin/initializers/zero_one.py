"""ZerO: networks that start from zeros and ones, by identities and Hadamard matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, check_gain, require_fans
from fanin.initializers import distributions
from fanin.initializers.constant import Zero
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
    choose_all,
)

ZERO_ONE = Paper(
    authors="Zhao, Schäfer, Anandkumar",
    title="ZerO initialization: initializing neural networks with only zeros and ones",
    year=2022,
    link="https://arxiv.org/abs/2110.12661",
)


@final
@dataclass(frozen=True)
class Hadamard(Initializer):
    """The identity where outputs are not more than inputs, else a part of a Hadamard matrix; at the
    centre of the kernel, one per group.

    An identity that is widened by zeros leaves the further outputs dead and keeps the rank of all
    later updates below the number of inputs. The Hadamard matrix sends each input to all outputs
    instead.

    Args:
        gain: the factor on c = 2^(-m/2), m = ⌈log₂ outputs⌉, for layers with more outputs than
            inputs. √2 as in the paper; with 1 the layer keeps norms if the number of outputs is a
            power of two.
    """

    name: ClassVar[str] = "hadamard"
    deterministic: ClassVar[bool] = True
    gain: float = math.sqrt(2)

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "hadamard(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """The matrix at the centre, zeros elsewhere; the generator is not used."""
        require_fans(layout)
        groups, outputs, inputs = layout.tap_shape
        if outputs <= inputs:
            matrix = torch.eye(outputs, inputs, dtype=torch.float32, device="cpu")
        else:
            matrix = _make_hadamard(outputs, inputs).mul_(self._get_entry(outputs))
        return layout.from_tap(matrix.expand(groups, -1, -1), layout.find_centre())

    def intended_std(self, layout: WeightLayout) -> float:
        """The standard deviation of the entries, zeros included: exact, as nothing is drawn."""
        require_fans(layout)
        _, outputs, inputs = layout.tap_shape
        count = math.prod(layout.matrices_shape[1:])
        if outputs <= inputs:
            return distributions.deviation(count, outputs, outputs)
        entry = self._get_entry(outputs)
        total = entry * _sum_hadamard(outputs, inputs, _count_bits(outputs))
        return distributions.deviation(count, total, entry * entry * outputs * inputs)

    def _get_entry(self, outputs: int) -> float:
        return self.gain * 2 ** (-_count_bits(outputs) / 2)


@final
@dataclass(frozen=True)
class ZeroOne(ModelInitializer):
    """ZerO: zero where a layer ends a residual branch and in the readout, elsewhere identities, or
    Hadamard matrices where a layer widens; biases 0. Nothing is random.

    Embeddings keep their own rule.

    Args:
        gain: the factor of the Hadamard matrices, as in `hadamard`.
    """

    name: ClassVar[str] = "zero_one"
    deterministic: ClassVar[bool] = True
    structured: ClassVar[bool] = True
    gain: float = math.sqrt(2)

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "zero_one(gain=…)")

    def plan(self, view: ModelView) -> ModelPlan:
        """A choice for weights and biases."""
        return ModelPlan(choose_all(view.sites, self._choose))

    def _choose(self, site: ModelParameter) -> Assignment | None:
        if site.role in ("bias", "recurrent bias"):
            return Assignment(Zero(), f"ZerO: {site.role}")
        if site.role not in ("weight", "recurrent weight"):
            return None
        if site.place is not None and site.place.writes:
            return Assignment(Zero(), f"ZerO: ends a branch of residual stream {site.place.stream}")
        if site.place is not None and "head" in site.place.roles:
            return Assignment(Zero(), "ZerO: readout")
        return Assignment(Hadamard(gain=self.gain), f"ZerO: {site.role}")


def _count_bits(outputs: int) -> int:
    """⌈log₂ outputs⌉."""
    return (outputs - 1).bit_length()


def _make_hadamard(rows: int, columns: int) -> Tensor:
    """The first rows and columns of Sylvester's Hadamard matrix: -1 to the number of bits that row
    and column share.
    """
    matrix = torch.ones(1, 1, dtype=torch.float32, device="cpu")
    while matrix.shape[0] < rows:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
        matrix = matrix[:, :columns]
    return matrix[:rows].contiguous()


def _sum_hadamard(rows: int, columns: int, bits: int) -> int:
    """The sum of the first rows and columns of the matrix of size 2^bits, quarter by quarter."""
    if not rows or not columns:
        return 0
    if 1 << bits in (rows, columns):  # all columns but the first sum to zero
        return 1 << bits
    half = 1 << (bits - 1)
    above, left = min(rows, half), min(columns, half)
    below, right = rows - above, columns - left
    quarters = ((above, left, 1), (above, right, 1), (below, left, 1), (below, right, -1))
    return sum(sign * _sum_hadamard(r, c, bits - 1) for r, c, sign in quarters)


REGISTRY.add(
    InitializerEntry(
        component=Hadamard,
        summary="The identity, or a part of a Hadamard matrix where a layer widens.",
        formula=(
            "outputs ≤ inputs: W[o, i, centre] = [o = i]; else gain·2^(-m/2)·H[o, i], "
            "m = ⌈log₂ outputs⌉, H of size 2^m; other taps 0"
        ),
        paper=ZERO_ONE,
        suited=(
            "Layers of a deterministic start, as zero_one places it: it sets the ends of residual "
            "branches and the classifier to zero besides."
        ),
        avoid=(
            "Replicates that are meant to differ: the seed changes nothing. Kernels that must mix "
            "positions from the first step on. Narrowing layers, where inputs beyond the outputs "
            "are unheard at first."
        ),
        cost="Nothing is drawn: O(n) to write n weights.",
        differs=(
            "torch, Keras and JAX have no equivalent. The paper's c is √2 times that of the "
            "authors' program, which divides by the norm: gain=1.0. Groups and transposed layers "
            "are taken into account here, and even kernels have their centre at (k - 1)//2."
        ),
        examples=("hadamard(gain=1.0)",),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=ZeroOne,
        level="model",
        needs=("structure",),
        summary=(
            "ZerO: identities and Hadamard matrices, zero at the ends of residual branches and in "
            "the readout."
        ),
        formula=(
            "W = 0 where a layer ends a residual branch, and in the readout; else hadamard: "
            "[o = i] if outputs ≤ inputs, c·H[o, i] if not, at the centre of the kernel; biases 0"
        ),
        paper=ZERO_ONE,
        suited=(
            "Residual networks with or without batch normalization, also very deep ones, where "
            "runs should differ by nothing but the data's order."
        ),
        avoid=(
            "Replicates that are meant to differ: the seed changes nothing but the embeddings. "
            "Plain deep convolutional networks, whose layers all start as identities. Expect no "
            "gradient before the readout in the first step."
        ),
        cost="A trace or one forward pass; nothing is drawn.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' ResNets have Hadamard "
            "transforms as shortcuts of their own where widths change; here the model stays as it "
            "is, and the layers of such shortcuts get the Hadamard matrix."
        ),
        examples=("zero_one", "zero_one(gain=1.0)"),
    )
)
