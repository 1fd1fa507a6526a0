"""IDInit: identities in all layers, padded where a layer is not square."""

from __future__ import annotations

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


@final
@dataclass(frozen=True)
class IDInit(ModelInitializer):
    """Padded identities of size tau; of size epsilon where a layer ends a residual branch; biases
    0.

    So a residual network starts as the identity, and no unit of it is dead. Embeddings keep their
    own rule.

    Args:
        tau: what a layer copies of its input.
        epsilon: the same where a layer ends a residual branch.
        noise: how much the ones are loosened, as in `padded_identity`; at the ends, epsilon is.
    """

    name: ClassVar[str] = "idinit"
    structured: ClassVar[bool] = True
    tau: float = 1.0
    epsilon: float = 1e-6
    noise: float = 1e-6

    def check(self) -> None:
        """None may be negative."""
        check_gain(self.tau, "idinit(tau=…)")
        check_gain(self.epsilon, "idinit(epsilon=…)")
        distributions.check_std(self.noise, "idinit(noise=…)")

    def plan(self, view: ModelView) -> ModelPlan:
        """A choice for weights and biases."""
        return ModelPlan(choose_all(view.sites, self._choose))

    def _choose(self, site: ModelParameter) -> Assignment | None:
        if site.role in ("bias", "recurrent bias"):
            return Assignment(Zero(), f"IDInit: {site.role}")
        if site.role not in ("weight", "recurrent weight"):
            return None
        if site.place is not None and site.place.writes:
            return Assignment(
                PaddedIdentity(tau=self.epsilon, noise=self.epsilon),
                f"IDInit: ends a branch of residual stream {site.place.stream}",
            )
        return Assignment(PaddedIdentity(tau=self.tau, noise=self.noise), f"IDInit: {site.role}")


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
            "description, not from its authors' code: that the ones are loosened by noise, at the "
            "size of 1e-6, and how kernels are filled may differ from that code."
        ),
        examples=("padded_identity(tau=1e-06)", "padded_identity(noise=0.001)"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=IDInit,
        level="model",
        needs=("structure",),
        summary="Padded identities in all layers, tiny ones at the ends of residual branches.",
        formula=(
            "W[o, c] ~ N(tau, noise²) if o ≡ c (mod min(outputs, inputs·kernel)), else 0; tau and "
            "noise are epsilon where a layer ends a residual branch; biases 0"
        ),
        paper=IDINIT,
        suited=(
            "Residual networks with normalization, trained by SGD with momentum, which the paper "
            "shows to leave the identity; transformers."
        ),
        avoid=(
            "Plain deep convolutional networks without normalization, where outputs that sum "
            "several taps grow the signal. Weights in bfloat16, unless noise is raised to 0.01."
        ),
        cost="A trace or one forward pass, then one draw per weight.",
        differs=(
            "torch, Keras and JAX have no equivalent. Written from the paper's description, not "
            "from its authors' code: the noise and its size, epsilon, and how kernels are filled "
            "are as described there, and may differ from that code."
        ),
        examples=("idinit(tau=0.5)", "idinit(epsilon=0.001)", "idinit(noise=0.01)"),
    )
)
