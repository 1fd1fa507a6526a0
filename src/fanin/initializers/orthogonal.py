"""Orthogonal: a rotation, drawn evenly from all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.fans import Layout, check_gain, require_fans
from fanin.initializers import laws
from fanin.initializers.base import REGISTRY, Initializer, InitializerEntry, Paper


@final
@dataclass(frozen=True)
class Orthogonal(Initializer):
    """gain times a matrix with orthonormal rows (or columns, where there are more rows), one per group.

    The matrix is (outputs, inputs · kernel). It is distributed evenly (Haar): the QR decomposition of a standard-normal
    matrix, with the signs of R's diagonal moved into Q (Mezzadri 2007, https://arxiv.org/abs/math-ph/0609050).
    """

    name: ClassVar[str] = "orthogonal"
    gain: float = 1.0

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "orthogonal(gain=…)")

    def sample(self, layout: Layout, generator: torch.Generator) -> Tensor:
        """gain · Q, with z = Q·R (or its transpose, for a wide matrix)."""
        require_fans(layout)
        z = laws.normal(layout.shape, generator, std=1.0)
        matrices = haar(layout.to_matrices(z)).mul_(self.gain)
        return layout.from_matrices(matrices).contiguous()

    def intended_std(self, layout: Layout) -> float:
        """gain / √max(outputs, inputs · kernel): the root mean square of the entries, which is exact for every draw."""
        require_fans(layout)
        longer = max(layout.matrices_shape[1:])
        return self.gain / math.sqrt(longer) if longer else 0.0


def haar(z: Tensor) -> Tensor:
    """The orthogonal factors of standard-normal matrices z, shape (groups, rows, columns), evenly distributed."""
    wide = z.shape[-2] < z.shape[-1]
    q: Tensor
    r: Tensor
    q, r = torch.linalg.qr(z.mT if wide else z)
    signs = r.diagonal(dim1=-2, dim2=-1).sign()
    signs[signs == 0] = 1  # sign(0) = 0 would zero a column
    q.mul_(signs.unsqueeze(-2))
    return q.mT if wide else q


REGISTRY.add(
    InitializerEntry(
        make=Orthogonal,
        summary="Orthonormal rows or columns, evenly distributed over all such matrices, times a gain.",
        formula="W = gain·Q, W·Wᵀ = gain²·I (wide) or Wᵀ·W = gain²·I (tall), Q ~ Haar",
        paper=Paper(
            authors="Saxe, McClelland, Ganguli",
            title="Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
            year=2013,
            link="https://arxiv.org/abs/1312.6120",
        ),
        suited="Deep linear and tanh networks, recurrent layers; for ReLU with gain √2.",
        differs="The same law as torch's orthogonal_, Keras' Orthogonal and JAX' orthogonal on a matrix. On a convolution "
        "Keras and JAX flatten to (kernel·inputs, outputs), which is the same law; none of them treats groups or "
        "transposed layers: here each group is a matrix of its own. torch raises for bf16 and fp16.",
        examples=("orthogonal(gain=1.5)",),
    )
)
