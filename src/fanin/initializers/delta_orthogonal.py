"""Orthogonal maps that keep the mean square of signals: scaled for rectangular layers, or at the
centre of the kernel only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import FitError
from fanin.fans import WeightLayout, check_gain, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.orthogonal import haar


@final
@dataclass(frozen=True)
class ScaledUniformOrthogonal(Initializer):
    """gain · max(√(outputs / inputs), 1) times an evenly distributed orthogonal matrix, one per
    group (SUO).

    The scale makes up for what the outputs beyond the inputs would dilute: the mean square of the
    outputs is gain² times that of the inputs, exactly if there are at least as many outputs as
    inputs, and in expectation over draws elsewhere.

    Args:
        gain: the factor beside the scale.
        delta: False takes the matrix to be (outputs, inputs · kernel); True puts a matrix (outputs,
            inputs) at the centre of the kernel and zeros elsewhere, so that no two positions are
            mixed.
    """

    name: ClassVar[str] = "scaled_uniform_orthogonal"
    factorizes: ClassVar[bool] = True
    gain: float = 1.0
    delta: bool = False

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "scaled_uniform_orthogonal(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """gain · max(√(outputs / inputs), 1) · Q with z = Q·R; with delta the z of the centre."""
        require_fans(layout)
        z = distributions.normal(layout.shape, generator, std=1.0)
        if not self.delta:
            return layout.from_matrices(self._orthogonalize(layout.to_matrices(z))).contiguous()
        tap = layout.find_centre()
        return layout.from_tap(self._orthogonalize(layout.to_tap(z, tap)), tap)

    def intended_std(self, layout: WeightLayout) -> float:
        """gain / √(inputs · kernel): the root mean square of all entries, which is exact for every
        draw.
        """
        require_fans(layout)
        columns = layout.matrices_shape[2]
        return self.gain / math.sqrt(columns) if columns else 0.0

    def _orthogonalize(self, z: Tensor) -> Tensor:
        outputs, inputs = z.shape[-2:]
        return haar(z, self.gain * max(math.sqrt(outputs / inputs), 1.0))


@final
@dataclass(frozen=True)
class DeltaOrthogonal(Initializer):
    """gain times a matrix with orthonormal columns at the centre of the kernel, zeros elsewhere;
    one per group.

    With circular padding and stride 1 the layer keeps the norm of every signal exactly (gain 1),
    which an orthogonal matrix of shape (outputs, inputs · kernel) does not. Each group needs at
    least as many outputs as inputs.
    """

    name: ClassVar[str] = "delta_orthogonal"
    factorizes: ClassVar[bool] = True
    gain: float = 1.0

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "delta_orthogonal(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """gain · Q at the centre, with z = Q·R for the z of the centre."""
        _require_outputs(layout)
        tap = layout.find_centre()
        z = layout.to_tap(distributions.normal(layout.shape, generator, std=1.0), tap)
        return layout.from_tap(haar(z, self.gain), tap)

    def intended_std(self, layout: WeightLayout) -> float:
        """gain / √(outputs · taps): the root mean square of all entries, which is exact for every
        draw.
        """
        _require_outputs(layout)
        spread = layout.matrices_shape[1] * math.prod(layout.kernel)
        return self.gain / math.sqrt(spread) if spread else 0.0


def _require_outputs(layout: WeightLayout) -> None:
    """Raise `FitError` if a group has fewer outputs than inputs: no map keeps all norms then."""
    require_fans(layout)
    groups, outputs, inputs = layout.tap_shape
    if inputs > outputs:
        of = "each group has" if groups > 1 else "it has"
        raise FitError(
            "delta_orthogonal needs at least as many outputs as inputs, to keep the norm of every "
            "signal. In the weight of "
            f"shape {layout.shape} {of} {outputs} outputs for {inputs} inputs. "
            "Use scaled_uniform_orthogonal(delta=true), which keeps the mean square in "
            "expectation."
        )


REGISTRY.add(
    InitializerEntry(
        component=ScaledUniformOrthogonal,
        summary=(
            "Orthogonal, scaled so that a layer with more outputs than inputs keeps the mean "
            "square too."
        ),
        formula=(
            "W = gain·max(√(outputs/inputs), 1)·Q, Q ~ Haar; for a kernel, inputs counts its taps; "
            "with delta=true Q is (outputs × inputs) at the centre and 0 elsewhere"
        ),
        paper=Paper(
            authors="Martens, Ballard, Desjardins, Swirszcz, Dalibard, Sohl-Dickstein, Schoenholz",
            title="Rapid training of deep neural networks without skip connections or "
            "normalization layers using Deep Kernel "
            "Shaping",
            year=2021,
            link="https://arxiv.org/abs/2110.01765",
        ),
        suited=(
            "Deep networks without normalization and without skip connections whose layers differ "
            "in width. For networks of deep kernel shaping: delta=true, biases zero, gain 1, and "
            "its transformed activations."
        ),
        avoid=(
            "Networks that forget their initial scale, such as those with batch normalization: "
            "he_normal does the same at a lower cost. Plain ReLU needs gain=1.414. With "
            "delta=true: kernels that must mix positions from the first step on, and strided "
            "transposed convolutions, where most outputs would start at zero."
        ),
        cost=(
            "A draw per weight and a QR decomposition of each group's matrix: "
            "O(rows·columns·min(rows, columns)). With delta=true only one tap is decomposed, so "
            "the matrix has fewer columns by the number of taps."
        ),
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' package dks defaults to "
            "delta=true, refuses even kernels (here their centre is (k − 1)//2), and its PyTorch "
            "version assumes weights of shape (in, out): a torch layer from 64 to 16 units "
            "multiplies the mean square by 4 there. Here groups and transposed layers are taken "
            "into account."
        ),
        examples=("scaled_uniform_orthogonal(gain=1.5)", "scaled_uniform_orthogonal(delta=true)"),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=DeltaOrthogonal,
        summary=(
            "Orthogonal at the centre of the kernel, zeros elsewhere: a convolution that is an "
            "isometry."
        ),
        formula=(
            "W[:, :, centre] = gain·Q with Qᵀ·Q = I, Q ~ Haar; W = 0 at all other taps; centre = "
            "(k − 1)//2"
        ),
        paper=Paper(
            authors="Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington",
            title="Dynamical isometry and a mean field theory of CNNs: how to train 10,000-layer "
            "vanilla convolutional neural "
            "networks",
            year=2018,
            link="https://arxiv.org/abs/1806.05393",
        ),
        suited=(
            "Very deep plain convolutional networks with tanh or another activation that is linear "
            "at 0, stride 1, and widths that do not shrink."
        ),
        avoid=(
            "Layers with fewer outputs than inputs (refused: use "
            "scaled_uniform_orthogonal(delta=true)); shallow networks, which lose the random "
            "filters; ReLU, which cannot keep the norm anyway; strided transposed convolutions, "
            "where most outputs would start at zero."
        ),
        cost=(
            "A draw per weight and a QR decomposition of one matrix per group: O(outputs·inputs²), "
            "independent of the number of taps."
        ),
        differs=(
            "Same distribution as JAX' delta_orthogonal, including the centre of even kernels. JAX "
            "refuses matrices; here they are kernels of one tap. torch and Keras have no "
            "equivalent. Groups and transposed layers are taken into account here."
        ),
        examples=("delta_orthogonal(gain=1.5)",),
    )
)
