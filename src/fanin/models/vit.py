"""A small vision transformer: `vit`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor, nn

from fanin.models import normalization
from fanin.models.attention import check_heads
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.model_options import MAX_DEPTH, MAX_WIDTH, canonicalize_options, check_count
from fanin.models.patch_embedding import Patches, count_patches
from fanin.models.transformer_blocks import StackOptions, make_blocks


@dataclass(frozen=True)
class ViTOptions:
    """Side of a patch, width of a token, number of blocks and attention heads; activation of the
    feed-forward layers, placement of layer normalization, what the output depends on (a class
    token, or the mean of all tokens), and dropout.

    `bias` is that of all layers of the blocks; patches and output always have one.
    """

    patch: int = 4
    width: int = 64
    depth: int = 4
    heads: int = 4
    activation: str = "gelu"
    norm: Literal["pre", "post"] | None = "pre"
    pool: Literal["token", "mean"] = "token"
    bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        canonicalize_options("vit", self)
        for name, most in (
            ("patch", MAX_WIDTH),
            ("width", MAX_WIDTH),
            ("depth", MAX_DEPTH),
            ("heads", MAX_WIDTH),
        ):
            check_count(getattr(self, name), name, most)
        check_heads("vit", self.width, self.heads)

    @property
    def stack(self) -> StackOptions:
        """The options of the blocks."""
        shared = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("patch", "pool")
        }
        return StackOptions(**shared)


class ViT(nn.Module):
    """patches → linear → class token added → + positions → dropout → blocks → norm → token →
    linear.

    `fanin.models.transformer_blocks` has the blocks, here with plain sums. The norm is there with
    norm=pre. With pool=mean, there is no class token, and the output depends on the mean of all
    tokens. `token` and `positions` are parameters that no initializer of weights fills. They start
    at 0, so that all randomness comes from the initializer; the source draws positions with a
    standard deviation of 0.02, as a rule ``{"positions": "normal(std=0.02)"}`` does.

    Args:
        options: patch, width, depth, heads, activation, normalization, pooling, biases and dropout
            rate.
        input_shape: (channels, height, width) of one image.
        outputs: number of outputs.

    Raises: `FitError` for images whose sides are not multiples of the patch.

    Sources: Dosovitskiy et al., An Image is Worth 16x16 Words, 2021 (pre); Vaswani et al.,
    Attention Is All You Need, 2017 (post).
    """

    token: nn.Parameter | None

    def __init__(self, options: ViTOptions, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        with_token = options.pool == "token"
        tokens = count_patches("vit", input_shape, options.patch) + with_token
        self.patches = Patches(input_shape[0], options.width, options.patch)
        self.token = nn.Parameter(torch.zeros(1, 1, options.width)) if with_token else None
        self.positions = nn.Parameter(torch.zeros(1, tokens, options.width))
        self.dropout = Dropout(options.dropout)
        self.blocks = make_blocks(options.stack)
        self.norm = normalization.make_feature_norm(options.stack.final_norm, options.width)
        self.output = nn.Linear(options.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, height, width) → (N, outputs)."""
        x = self.patches(x)
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = self.dropout(x + self.positions)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        output: Tensor = self.output(x.mean(1) if self.token is None else x[:, 0])
        return output


REGISTRY.add(
    ModelEntry(
        name="vit",
        summary="A small vision transformer: patches of 4×4, 4 blocks of width 64 with 4 heads, "
        "class token, outputs.",
        options=ViTOptions,
        build=ViT,
        input="image",
        task="any",
        channels_last=False,
        paper="Dosovitskiy et al., An Image is Worth 16x16 Words, 2021",
    )
)
