"""The blocks of `fanin.models.transformer`, `fanin.models.gpt` and `fanin.models.vit`.

A block has two branches f, attention and then two feed-forward layers. The sum around each is

| norm | sum                                                  |
|------|------------------------------------------------------|
| pre  | ω·x + s·α·f(norm(x))                                 |
| post | norm(ω·x + s·α·f(x))                                 |
| sub  | as pre, with another norm before the last layer of f |
| none | ω·x + s·α·f(x)                                       |

norm is layer normalization over a step's vector. The other symbols are options:

- α, the option `residual`. plain: 1; scalar: one learned number per branch, 0 at first (SkipInit,
  ReZero).
- s, the option `residual_scale`. A number; depth: 1/√(2·depth) for 2·depth branches (Hanin and
  Rolnick).
- ω, the option `skip_weight`. A number; deepnorm: (2·depth)^¼ (DeepNorm, with norm=post); learned:
  one learned number per feature and branch, 1 at first (Admin, with norm=post).

A learned α or ω is a parameter of the block itself, which initializers of weights leave at these
neutral values. Rules for the weights that belong to such a structure (those of T-Fixup, DeepNorm,
Sub-LN, and Admin's profile of ω) are left to the initializer.

Sources: Vaswani et al., Attention Is All You Need, 2017 (post); Xiong et al., On Layer
Normalization in the Transformer Architecture, 2020 (pre); Wang et al., Foundation Transformers,
2022 (sub); Bachlechner et al., ReZero is All You Need, 2020, and De, Smith, Batch Normalization
Biases Residual Blocks Towards the Identity Function in Deep Networks, 2020 (scalar); Hanin,
Rolnick, How to Start Training, 2018 (the scale); Wang et al., DeepNet: Scaling Transformers to
1,000 Layers, 2022 (deepnorm); Liu et al., Understanding the Difficulty of Training Transformers,
2020 (learned).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fanin.errors import SpecError, quote
from fanin.models import normalization
from fanin.models.attention import Attention, check_heads
from fanin.models.model_options import MAX_DEPTH, MAX_WIDTH, canonicalize_options, check_count
from fanin.models.normalization import Norm
from fanin.models.patch_embedding import FeedForward

EXPANSION = 4
"""Hidden width of the feed-forward layers, in units of the model's width, as in the sources."""

NormPlacement = Literal["pre", "post", "sub"]
"""Where layer normalization is applied; None for nowhere."""


@dataclass(frozen=True)
class StackOptions:
    """Width of a step's vector, number of blocks and attention heads, activation of the
    feed-forward layers, placement of layer normalization, and weights of the sums around the
    branches (`fanin.models.transformer_blocks` has the formula).

    Dropout is applied after the embedding, the attention and each feed-forward layer. `bias` is
    that of all layers of the blocks.
    """

    name: ClassVar[str] = "transformer"
    width: int = 64
    depth: int = 4
    heads: int = 4
    activation: str = "gelu"
    norm: NormPlacement | None = "pre"
    residual: Literal["plain", "scalar"] = "plain"
    residual_scale: float | Literal["depth"] = 1.0
    skip_weight: float | Literal["deepnorm", "learned"] = 1.0
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options(self.name, self)
        for option, most in (("width", MAX_WIDTH), ("depth", MAX_DEPTH), ("heads", MAX_WIDTH)):
            check_count(getattr(self, option), option, most)
        check_heads(self.name, self.width, self.heads)
        _require_positive(self.residual_scale, "residual_scale")
        _require_positive(self.skip_weight, "skip_weight")

    @property
    def scale(self) -> float:
        """s, the factor of every branch."""
        return (
            1 / math.sqrt(2 * self.depth)
            if isinstance(self.residual_scale, str)
            else self.residual_scale
        )

    @property
    def skip(self) -> float:
        """ω at first, the factor of every skip."""
        if isinstance(self.skip_weight, str):
            return (2 * self.depth) ** 0.25 if self.skip_weight == "deepnorm" else 1.0
        return self.skip_weight

    @property
    def final_norm(self) -> Norm | None:
        """The normalization after the last block, which pre and sub need: their sums have none."""
        return "layer" if self.norm in ("pre", "sub") else None


class TransformerBlock(nn.Module):
    """Attention, then two feed-forward layers, each with a skip; the module has the formula.

    With `causal`, step t sees the steps up to t only.
    """

    alpha1: nn.Parameter | None
    alpha2: nn.Parameter | None
    skip1: nn.Parameter | None
    skip2: nn.Parameter | None

    def __init__(self, options: StackOptions, *, causal: bool = False) -> None:
        super().__init__()
        width, bias, dropout = options.width, options.bias, options.dropout
        self.post, self.scale, self.skip = options.norm == "post", options.scale, options.skip
        outer: Norm | None = "layer" if options.norm else None
        inner: Norm | None = "layer" if options.norm == "sub" else None
        self.norm1 = normalization.make_feature_norm(outer, width)
        self.attention = Attention(
            width, options.heads, bias=bias, dropout=dropout, causal=causal, norm=inner
        )
        self.norm2 = normalization.make_feature_norm(outer, width)
        layers = NormalizedFeedForward if inner else FeedForward
        self.mlp = layers(
            width, EXPANSION * width, activation=options.activation, bias=bias, dropout=dropout
        )
        scalar, learned = options.residual == "scalar", options.skip_weight == "learned"
        self.alpha1, self.alpha2 = (
            nn.Parameter(torch.zeros(1)) if scalar else None for _ in range(2)
        )
        self.skip1, self.skip2 = (
            nn.Parameter(torch.ones(width)) if learned else None for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, steps, width) → (N, steps, width)."""
        x = self._add_branch(x, self.attention, self.norm1, self.alpha1, self.skip1)
        return self._add_branch(x, self.mlp, self.norm2, self.alpha2, self.skip2)

    def _add_branch(
        self,
        x: Tensor,
        branch: nn.Module,
        norm: nn.Module,
        alpha: Tensor | None,
        skip: Tensor | None,
    ) -> Tensor:
        added = branch(x if self.post else norm(x))
        if alpha is not None:
            added = alpha * added
        if self.scale != 1:
            added = self.scale * added
        if skip is not None:
            x = skip * x
        elif self.skip != 1:
            x = self.skip * x
        output: Tensor = norm(x + added) if self.post else x + added
        return output


class NormalizedFeedForward(FeedForward):
    """linear to `hidden` → activation → dropout → norm → linear → dropout, as in Sub-LN."""

    def __init__(
        self, features: int, hidden: int, *, activation: str, bias: bool, dropout: float
    ) -> None:
        super().__init__(features, hidden, activation=activation, bias=bias, dropout=dropout)
        self.norm = normalization.make_feature_norm("layer", hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(…, features) → (…, features)."""
        hidden = self.norm(self.dropout1(self.activation(self.linear1(x))))
        output: Tensor = self.dropout2(self.linear2(hidden))
        return output


def make_blocks(options: StackOptions, *, causal: bool = False) -> nn.ModuleList:
    """The blocks of a model."""
    return nn.ModuleList(TransformerBlock(options, causal=causal) for _ in range(options.depth))


def _require_positive(value: float | str, option: str) -> None:
    if not isinstance(value, str) and value <= 0:
        raise SpecError(
            f"{option} is a number above 0, or a word; received {quote(value)}. Use 1 for the "
            "plain "
            "sum."
        )
