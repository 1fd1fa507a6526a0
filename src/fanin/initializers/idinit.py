"""IDInit: identities in all layers, padded where a layer is not square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import WeightLayout, check_gain, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper

IDINIT = Paper(
    authors="Pan, Wang, Wu, Wang, Zhang, Xu",
    title="IDInit: a universal and stable initialization method for neural network training",
    year=2025,
    link="https://arxiv.org/abs/2503.04626",
)


@final
@dataclass(frozen=True)
class PaddedIdentity(Initializer):
    """tau, loosened by a little noise, where output ≡ input modulo the shorter side; else zero.

    The matrix is (outputs × inputs · kernel): the identity is repeated along its longer side. So of
    a kernel each output copies one tap of one input, and different outputs copy different taps
    (patch-maintain). If there are more inputs · taps than outputs, an output sums several.

    Args:
        tau: the copied share. Signals pass with 1; with 1e-6 the layer starts near zero and yet has
            no dead unit.
        noise: the standard deviation of normal numbers that are added to each tau. Without them
            outputs that copy the same input would stay equal for ever.
    """

    name: ClassVar[str] = "padded_identity"
    tau: float = 1.0
    noise: float = 1e-6

    def check(self) -> None:
        """Neither may be negative."""
        check_gain(self.tau, "padded_identity(tau=…)")
        distributions.check_std(self.noise, "padded_identity(noise=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """tau + noise · z in the padded identity, 0 elsewhere."""
        require_fans(layout)
        z = distributions.normal(layout.shape, generator, mean=self.tau, std=self.noise)
        loose = layout.to_matrices(z)
        _, outputs, columns = layout.matrices_shape
        matrices = torch.zeros_like(loose)
        if loose.numel():
            longer = torch.arange(max(outputs, columns), device="cpu")
            place = (..., longer.remainder(outputs), longer.remainder(columns))
            matrices[place] = loose[place]
        return layout.from_matrices(matrices).contiguous()

    def intended_std(self, layout: WeightLayout) -> float:
        """That of all entries, zeros included."""
        require_fans(layout)
        _, outputs, columns = layout.matrices_shape
        copies = max(outputs, columns)
        squares = copies * (self.tau**2 + self.noise**2)
        return distributions.deviation(outputs * columns, copies * self.tau, squares)


REGISTRY.add(
    InitializerEntry(
        component=PaddedIdentity,
        summary="The identity, repeated along the longer side of a matrix or of a whole kernel.",
        formula=(
            "W[o, c] ~ N(tau, noise²) if o ≡ c (mod min(outputs, inputs·kernel)), else 0; c counts "
            "inputs · kernel"
        ),
        paper=IDINIT,
        suited=(
            "Layers that should pass their input on: inside residual branches with tau=1, at their "
            "ends with tau=1e-6. idinit places both."
        ),
        avoid=(
            "Deep plain networks of convolutions without normalization: an output sums several "
            "taps if inputs·kernel exceeds the outputs, which grows the signal. Weights in "
            "bfloat16, which round the default noise away from a tau of 1: noise=0.01."
        ),
        cost="One draw per weight: O(n) for n weights.",
        differs=(
            "torch, Keras and JAX have no equivalent; identity(repeat=true) puts the same matrix "
            "at the centre of a kernel and divides rows by their norm. Written from the paper's "
            "description: it loosens the ones by noise too, at the size of 1e-6."
        ),
        examples=("padded_identity(tau=1e-06)", "padded_identity(noise=0.001)"),
    )
)
