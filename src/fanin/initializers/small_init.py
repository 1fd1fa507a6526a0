"""Distributions for the matrices of transformers, scaled by the width of the model."""

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


@final
@dataclass(frozen=True)
class SmallInit(Initializer):
    """N(0, 2/(5·d)): Xavier's variance for the widest map of a transformer block, d to 4·d, for all
    of its matrices.

    Args:
        dim: the width d of the model; none takes the smaller side of the matrix (outputs, inputs ·
            kernel), which is d in every matrix of a transformer, embeddings included.
    """

    name: ClassVar[str] = "small_init"
    dim: int | None = None

    @property
    def gaussian(self) -> bool:
        """Always."""
        return True

    def check(self) -> None:
        """The width must be at least 1."""
        _check_count(self.dim, "small_init(dim=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """std · z."""
        return distributions.normal(layout.shape, generator, std=self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """√(2/(5·d))."""
        width = _get_width(layout, self.dim)
        return math.sqrt(2 / (5 * width)) if width else 0.0


@final
@dataclass(frozen=True)
class WangInit(Initializer):
    """N(0, 4/(layers²·d)), for the matrices that write to the residual stream.

    Args:
        layers: how many blocks the model has. At least 1.
        dim: the width d of the model; none takes the smaller side of the matrix (outputs, inputs ·
            kernel), which is d in every matrix of a transformer.
    """

    name: ClassVar[str] = "wang_init"
    layers: int
    dim: int | None = None

    @property
    def gaussian(self) -> bool:
        """Always."""
        return True

    def check(self) -> None:
        """Depth and width must be at least 1."""
        _check_count(self.layers, "wang_init(layers=…)")
        _check_count(self.dim, "wang_init(dim=…)")

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """std · z."""
        return distributions.normal(layout.shape, generator, std=self.intended_std(layout))

    def intended_std(self, layout: WeightLayout) -> float:
        """2/(layers·√d)."""
        width = _get_width(layout, self.dim)
        return 2 / (self.layers * math.sqrt(width)) if width else 0.0


def _get_width(layout: WeightLayout, dim: int | None) -> int:
    """The width of the model: `dim`, or the smaller side of the matrix."""
    require_fans(layout)
    return min(layout.matrices_shape[1:]) if dim is None else dim


def _check_count(count: int | None, what: str) -> None:
    if count is not None and count < 1:
        raise SpecError(f"{what} must be at least 1, not {quote(count)}.")


REGISTRY.add(
    InitializerEntry(
        component=SmallInit,
        summary=(
            "Normal, scaled by the width of a transformer: one small standard deviation for all of "
            "its matrices."
        ),
        formula="w ~ N(0, 2/(5·d)), d = dim or the smaller side of the matrix",
        paper=Paper(
            authors="Nguyen, Salazar",
            title="Transformers without tears: improving the normalization of self-attention",
            year=2019,
            link="https://arxiv.org/abs/1910.05895",
        ),
        suited=(
            "Transformers: q, k, v, the feed-forward layers and embeddings, together with "
            "wang_init for the matrices that write to the residual stream."
        ),
        avoid=(
            "Networks in which the layer alone must keep the variance (no normalization, no skip "
            "connections): a square layer multiplies it by 0.4. Feed-forward layers of another "
            "shape than d and 4·d, unless dim is given."
        ),
        cost="One draw per weight: O(n) for n weights.",
        differs=(
            "torch, Keras and JAX have no equivalent. GPT-NeoX has this distribution and takes d "
            "from its configuration, as dim does."
        ),
        examples=("small_init(dim=512)",),
    )
)

REGISTRY.add(
    InitializerEntry(
        component=WangInit,
        summary=(
            "Normal, scaled by width and depth: the contribution of each block to the residual "
            "stream shrinks with the number of blocks."
        ),
        formula="w ~ N(0, (2/(layers·√d))²), d = dim or the smaller side of the matrix",
        paper=Paper(
            authors="Wang, Komatsuzaki",
            title="GPT-J-6B: a 6 billion parameter autoregressive language model",
            year=2021,
            link="https://github.com/kingoflolz/mesh-transformer-jax",
        ),
        suited=(
            "The matrices of a transformer that write to the residual stream: the output "
            "projection of attention and the last layer of the feed-forward block. Use small_init "
            "for the others."
        ),
        avoid=(
            "All other matrices, embeddings and the head included, which it would make far too "
            "small; models of up to three blocks, where it is larger than small_init."
        ),
        cost="One draw per weight: O(n) for n weights.",
        differs=(
            "torch, Keras and JAX have no equivalent. Same distribution as in GPT-NeoX. "
            "mesh-transformer-jax truncates it at two standard deviations without a correction, so "
            "its standard deviation is 0.88 of this one."
        ),
        examples=("wang_init(layers=12)", "wang_init(layers=24, dim=1024)"),
    )
)
