"""Sparse: few strong connections instead of many weak ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.fans import WeightLayout, require_fans
from fanin.initializers import distributions
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.seeds import standard_normal


@final
@dataclass(frozen=True)
class Sparse(Initializer):
    """Zeros but for a few entries from N(0, std²).

    Args:
        connections: the paper's rule: how many incoming weights of each unit are not zero (all,
            if it has fewer); at least 1.
        std: standard deviation of the entries that are not zero.
        sparsity: torch's rule instead of the paper's: the fraction of the outgoing weights of each
            input that is zero, rounded up to whole weights, from 0 to below 1. In a layer of few
            units that may be all of them.
    """

    name: ClassVar[str] = "sparse"
    connections: int = 15
    std: float = 1.0
    sparsity: float | None = None

    def check(self) -> None:
        """Counts and fractions must be possible, and only one rule can be given."""
        distributions.check_std(self.std, "sparse(std=…)")
        if self.connections < 1:
            raise SpecError(
                f"sparse(connections=…) must be at least 1, not {quote(self.connections)}."
            )
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise SpecError(
                f"sparse(sparsity=…) must be from 0 to below 1, not {quote(self.sparsity)}."
            )
        if self.sparsity is not None and self.connections != Sparse.connections:
            raise SpecError(
                "sparse takes connections (per unit, as in the paper) or sparsity (per input, as "
                "in torch), not both."
            )

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """std · z for each connection, 0 elsewhere; the positions are drawn after z."""
        require_fans(layout)
        z = layout.to_matrices(distributions.normal(layout.shape, generator, std=self.std))
        kept, along = self._count_kept(layout)
        places = (
            standard_normal(layout.matrices_shape, generator)
            .topk(kept, dim=along, sorted=False)
            .indices
        )
        weights = torch.zeros_like(z).scatter_(along, places, z.gather(along, places))
        return layout.from_matrices(weights).contiguous()

    def intended_std(self, layout: WeightLayout) -> float:
        """std · √(share of entries that are not zero): the root mean square over all entries."""
        require_fans(layout)
        kept, along = self._count_kept(layout)
        of = layout.matrices_shape[along]
        return self.std * math.sqrt(kept / of) if of else 0.0

    def _count_kept(self, layout: WeightLayout) -> tuple[int, int]:
        """How many entries are kept, and along which dimension of the matrices they are counted."""
        _, outputs, inputs = layout.matrices_shape
        if self.sparsity is None:
            return min(self.connections, inputs), 2
        return outputs - math.ceil(self.sparsity * outputs), 1


REGISTRY.add(
    InitializerEntry(
        component=Sparse,
        summary="Each unit starts with a few (15) strong incoming weights; all others are zero.",
        formula=(
            "connections entries of each row of W (outputs × inputs·kernel) from N(0, std²), the "
            "others 0"
        ),
        paper=Paper(
            authors="Martens",
            title="Deep learning via Hessian-free optimization",
            year=2010,
            link="https://icml.cc/Conferences/2010/papers/458.pdf",
        ),
        suited=(
            "Deep sigmoid or tanh networks without normalization, such as autoencoders; wide "
            "layers whose units should differ."
        ),
        avoid=(
            "Layers with few inputs: all connections are kept at std 1 and units saturate. The "
            "same holds for depthwise convolutions and embeddings. With sparsity, layers of few "
            "units: a unit can lose all its inputs."
        ),
        cost=(
            "Two draws per weight and a selection of the largest of each row: at most O(n·log n) "
            "for n weights."
        ),
        differs=(
            "torch's sparse_ zeroes a fraction of each column (the outgoing weights of one input) "
            "and draws the others with std 0.01: sparse(sparsity=0.9, std=0.01). It accepts "
            "matrices only, and draws the positions from the global generator. Keras and JAX have "
            "no equivalent."
        ),
        examples=("sparse(connections=3, std=0.5)", "sparse(sparsity=0.5, std=0.01)"),
    )
)
