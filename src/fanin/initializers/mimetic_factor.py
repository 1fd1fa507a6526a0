"""One factor of a product of two weights that is near the identity: a building block of
`mimetic`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fanin.errors import FitError
from fanin.fans import WeightLayout
from fanin.initializers.building_blocks import REGISTRY, BuildingBlock
from fanin.initializers.initializer import Initializer
from fanin.seeds import standard_normal

Side = Literal["q", "k", "v", "output"]


@final
@dataclass(frozen=True)
class MimeticFactor(Initializer):
    """One factor of αZ + βI, or several that a parameter packs.

    All factors of one attention are drawn from one stream: first the d × d numbers of value and
    output, then those of each head's query and key. Every factor draws what lies before it too, so
    that both sides of a product come from the same matrix.
    """

    name: ClassVar[str] = "part:mimetic_factor"
    packs: ClassVar[bool] = True
    factorizes: ClassVar[bool] = True
    heads: int
    alpha_qk: float
    beta_qk: float
    alpha_vo: float
    beta_vo: float
    side: Side | None = None
    """Of a parameter that holds one factor; one that packs several has them in its layout."""

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """The factor, or all that are packed."""
        draws = _Products(self, generator)
        if not layout.parts:
            assert self.side is not None
            return _place(layout, draws.factor(self.side, count_rows(layout, self.side)))
        whole = torch.empty(layout.shape, dtype=torch.float32, device="cpu")
        for part in layout.parts:
            side = read_side(part.layout.part)
            rows = count_rows(part.layout, side)
            part.write(whole, _place(part.layout, draws.factor(side, rows)))
        return whole

    def intended_std(self, layout: WeightLayout) -> float | None:
        """None: what is intended is the product."""
        return None


class _Products:
    """The products of one attention, factorized when they are asked for."""

    def __init__(self, rule: MimeticFactor, generator: torch.Generator) -> None:
        self._rule, self._generator = rule, generator
        self._width = 0
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def factor(self, side: Side, sizes: tuple[int, int]) -> Tensor:
        """The matrix (outputs × inputs) of one side."""
        rows, self._width = sizes
        if side in ("v", "output"):
            left, right = self._get_pair(0)
            return left[:rows] if side == "v" else right[:rows].mT
        size = rows // self._rule.heads
        index = 0 if side == "q" else 1
        return torch.cat(
            [self._get_pair(1 + head)[index][:size] for head in range(self._rule.heads)]
        )

    def _get_pair(self, index: int) -> tuple[Tensor, Tensor]:
        """(√Σ·Uᵀ, √Σ·Vᵀ) of product 0, value and output, or of one head; in order, as drawn."""
        rule = self._rule
        while len(self._pairs) <= index:
            first = not self._pairs
            alpha, beta = (rule.alpha_vo, rule.beta_vo) if first else (rule.alpha_qk, rule.beta_qk)
            product = standard_normal((self._width, self._width), self._generator)
            product.mul_(alpha / self._width**0.5).diagonal().add_(beta)
            u, sizes, vt = torch.linalg.svd(product)
            roots = sizes.sqrt().unsqueeze(1)
            self._pairs.append((roots * u.mT, roots * vt))
        return self._pairs[index]


def count_rows(layout: WeightLayout, side: Side) -> tuple[int, int]:
    """The rank of a factor, and the width of the model."""
    _, outputs, inputs = layout.matrices_shape
    return (inputs, outputs) if side == "output" else (outputs, inputs)


def _place(layout: WeightLayout, matrix: Tensor) -> Tensor:
    return layout.from_matrices(matrix.unsqueeze(0)).contiguous()


def read_side(part: str) -> Side:
    """The side of a product that a packed part is."""
    for side in ("q", "k", "v"):
        if part == side:
            return side
    raise FitError(f"mimetic knows the parts q, k and v of an attention, not {part!r}.")


REGISTRY.add(
    BuildingBlock(
        component=MimeticFactor, summary="One factor of a product near the identity, for mimetic."
    )
)
