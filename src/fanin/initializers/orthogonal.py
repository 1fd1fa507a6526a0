"""Orthogonal: a rotation, drawn evenly from all of them, one per map or one per block of its
outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import FitError, SpecError, quote
from fanin.fans import WeightLayout, check_gain, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.single_thread import use_one_thread


@final
@dataclass(frozen=True)
class Orthogonal(Initializer):
    """gain times a matrix with orthonormal rows (or columns, if there are more rows), one per
    group.

    The matrix is (outputs, inputs · kernel). It is distributed evenly (Haar): the QR decomposition
    of a standard-normal matrix, with the signs of R's diagonal moved into Q (Mezzadri 2007,
    https://arxiv.org/abs/math-ph/0609050).
    """

    name: ClassVar[str] = "orthogonal"
    factorizes: ClassVar[bool] = True
    gain: float = 1.0

    def check(self) -> None:
        """The gain must not be negative."""
        check_gain(self.gain, "orthogonal(gain=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """gain · Q, with z = Q·R (or its transpose, for a wide matrix)."""
        require_fans(layout)
        z = distributions.normal(layout.shape, generator, std=1.0)
        matrices = layout.to_matrices(z)
        q = haar(matrices, self.gain)
        if matrices.data_ptr() != z.data_ptr():
            return layout.from_matrices(q).contiguous()
        matrices.copy_(q)  # the memory of z, which has served: fresh memory of that size is dear
        return z

    def intended_std(self, layout: WeightLayout) -> float:
        """gain / √max(outputs, inputs · kernel): the root mean square of the entries, which is
        exact for every draw.
        """
        require_fans(layout)
        longer = max(layout.matrices_shape[1:])
        return self.gain / math.sqrt(longer) if longer else 0.0


@final
@dataclass(frozen=True)
class BlockOrthogonal(Initializer):
    """Matrices whose outputs fall into equal blocks, such as the gates of a recurrent layer, each
    orthogonal on its own.

    A pack of four gates that is drawn as one orthogonal matrix has four gates that are not: each
    keeps half of the norm.

    Args:
        gain: the factor.
        blocks: how many blocks the outputs of each group make; none means one, which is
            `orthogonal`.
    """

    name: ClassVar[str] = "block_orthogonal"
    factorizes: ClassVar[bool] = True
    gain: float = 1.0
    blocks: int | None = None

    def check(self) -> None:
        """The gain must not be negative, and there must be a block."""
        check_gain(self.gain, "block_orthogonal(gain=…)")
        if self.blocks is not None and self.blocks < 1:
            raise SpecError(
                f"block_orthogonal(blocks=…) must be at least 1, not {quote(self.blocks)}."
            )

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """gain · Q for each block, with z = Q·R for the z of the block."""
        rows, columns = self._get_block_shape(layout)
        z = layout.to_matrices(distributions.normal(layout.shape, generator, std=1.0))
        blocks = haar(z.reshape(-1, rows, columns), self.gain)
        return layout.from_matrices(blocks.reshape(layout.matrices_shape)).contiguous()

    def intended_std(self, layout: WeightLayout) -> float:
        """gain / √max(outputs of a block, inputs · kernel): the root mean square of the entries,
        exact for every draw.
        """
        longer = max(self._get_block_shape(layout))
        return self.gain / math.sqrt(longer) if longer else 0.0

    def _get_block_shape(self, layout: WeightLayout) -> tuple[int, int]:
        """Rows and columns of a block; a `FitError` if the outputs cannot be divided into them."""
        require_fans(layout)
        _, outputs, columns = layout.matrices_shape
        rows, left = divmod(outputs, self.blocks or 1)
        if left:
            raise FitError(
                f"{self} divides the outputs of each group into {self.blocks} equal blocks; the "
                f"weight of shape {layout.shape} "
                f"has {outputs} of them per group. Use a number of blocks that divides {outputs}, "
                "or orthogonal."
            )
        return rows, columns


def haar(z: Tensor, gain: float = 1.0) -> Tensor:
    """gain times the orthogonal factors of standard-normal matrices z, shape (groups, rows,
    columns), evenly distributed. The same bits with any number of threads.
    """
    wide = z.shape[-2] < z.shape[-1]
    with use_one_thread():
        reflections, tau = torch.geqrf(
            z.mT if wide else z
        )  # torch.linalg.qr in two steps: of R, the diagonal is all we need
        signs = reflections.diagonal(dim1=-2, dim2=-1).sign()
        signs[signs == 0] = 1  # sign(0) = 0 would zero a column
        q: Tensor = torch.linalg.householder_product(reflections, tau, out=reflections)
    q.mul_(signs.mul_(gain).unsqueeze(-2))
    return q.mT if wide else q


REGISTRY.add(
    InitializerEntry(
        component=Orthogonal,
        summary=(
            "Orthonormal rows or columns, uniformly distributed over all such matrices, times a "
            "gain."
        ),
        formula="W = gain·Q, W·Wᵀ = gain²·I (wide) or Wᵀ·W = gain²·I (tall), Q ~ Haar",
        paper=Paper(
            authors="Saxe, McClelland, Ganguli",
            title="Exact solutions to the nonlinear dynamics of learning in deep linear neural "
            "networks",
            year=2013,
            link="https://arxiv.org/abs/1312.6120",
        ),
        suited=(
            "Deep linear and tanh networks, and recurrent layers, whose matrix is applied again "
            "and again; for ReLU use gain √2. Each gate of an LSTM or GRU is a separate matrix."
        ),
        avoid=(
            "Layers with more outputs than inputs in a network that must keep the mean square: it "
            "shrinks by inputs/outputs (use scaled_uniform_orthogonal). Convolutions that must "
            "keep every norm (use delta_orthogonal). Very large matrices, because of the cost."
        ),
        cost=(
            "A draw per weight and a QR decomposition of each group's matrix: "
            "O(rows·columns·min(rows, columns))."
        ),
        differs=(
            "Same distribution as torch's orthogonal_, Keras' Orthogonal and JAX' orthogonal on a "
            "matrix. Keras and JAX flatten a convolution to (kernel·inputs, outputs), which gives "
            "the same distribution. None of them takes groups or transposed layers into account; "
            "here each group is a separate matrix. torch raises for bf16 and fp16."
        ),
        examples=("orthogonal(gain=1.5)",),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=BlockOrthogonal,
        summary=(
            "Orthogonal, block by block: for a tensor that packs the gates of a recurrent layer."
        ),
        formula=(
            "W = [W_1; …; W_blocks], W_b = gain·Q_b with Q_b ~ Haar, independent, (outputs/blocks "
            "× inputs·kernel)"
        ),
        paper=Paper(
            authors="Gardner, Grus, Neumann, Tafjord, Dasigi, Liu, Peters, Schmitz, Zettlemoyer",
            title="AllenNLP: a deep semantic natural language processing platform",
            year=2018,
            link="https://arxiv.org/abs/1803.07640",
        ),
        suited=(
            "Packed tensors of layers that fanin does not know, such as a hand-written LSTM: "
            "block_orthogonal(blocks=4)."
        ),
        avoid=(
            "Layers that fanin knows (nn.LSTM, nn.GRU, nn.MultiheadAttention): fanin.initialize "
            "draws each gate and each of q, k and v separately, so orthogonal is block-orthogonal "
            "there. Layers that are one map."
        ),
        cost=(
            "A draw per weight and a QR decomposition of each block: O(rows·columns·min(rows, "
            "columns)) for the rows of a block."
        ),
        differs=(
            "torch, Keras and JAX have no equivalent: their orthogonal treats a packed tensor as "
            "one matrix, so that each of four gates keeps half of the norm. AllenNLP's "
            "block_orthogonal divides the inputs into blocks as well, and takes the sizes of the "
            "blocks; here their number is given."
        ),
        examples=("block_orthogonal(blocks=2)", "block_orthogonal(gain=1.5, blocks=4)"),
    )
)
