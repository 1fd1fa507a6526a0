"""A small transformer encoder: `transformer`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from fanin.models import normalization
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.position_encoding import LearnedPositions, Sinusoids
from fanin.models.transformer_blocks import StackOptions, make_blocks


@dataclass(frozen=True)
class TransformerOptions(StackOptions):
    """`StackOptions`, and the kind of positions; with none, the model cannot see the order."""

    positions: Literal["sinusoidal", "learned"] | None = "sinusoidal"


class Transformer(nn.Module):
    """embedding + positions → dropout → blocks → norm → mean over steps, or each step → linear.

    Vectors are embedded by a linear layer, tokens by a table. With sinusoidal positions, the
    table's vectors are multiplied by √width, as in the source, so that tokens drawn with variance
    1/width have the size of the positions. With learned positions, which get the same rule as the
    tokens, they are not (as in BERT). `fanin.models.transformer_blocks` has the blocks; each step
    sees all others. The norm is there with norm=pre and norm=sub.

    Sinusoidal positions are the default because they are the same under every initializer. A
    learned table starts as the rule for embeddings draws it: with a standard deviation of 0.02
    beside vectors of unit variance, the model can hardly see the order at first.

    Args:
        options: width, depth, heads, activation, normalization, weights of the sums, positions,
            biases and dropout rate.
        input_shape: (steps, features) of one sequence of vectors, or (steps,) of one of tokens.
        outputs: number of outputs.
        vocabulary: number of different tokens; None for vectors.
        per_step: whether each step has outputs.

    Raises: `FitError`, when called, for a sequence longer than the learned positions.

    Source: Vaswani et al., Attention Is All You Need, 2017: the encoder, there with norm=post and
    activation=relu. ``nn.TransformerEncoder`` differs: its blocks drop attention weights too, and
    the caller must add the norm after the blocks.
    """

    def __init__(
        self,
        options: TransformerOptions,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int | None = None,
        per_step: bool = False,
    ) -> None:
        super().__init__()
        width, self.per_step = options.width, per_step
        if vocabulary is None:
            self.embedding: nn.Module = nn.Linear(input_shape[1], width)
        else:
            self.embedding = nn.Embedding(vocabulary, width)
        fixed = options.positions == "sinusoidal"
        self.factor = math.sqrt(width) if fixed and vocabulary is not None else 1.0
        self.sinusoids = Sinusoids(width) if fixed else nn.Identity()
        self.positions = (
            LearnedPositions("transformer", input_shape[0], width)
            if options.positions == "learned"
            else None
        )
        self.dropout = Dropout(options.dropout)
        self.blocks = make_blocks(options)
        self.norm = normalization.make_feature_norm(options.final_norm, width)
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, steps, features), or tokens (N, steps) → (N, outputs), or (N, steps, outputs)."""
        embedded = self.sinusoids(self.embedding(x) * self.factor)
        if self.positions is not None:
            embedded = embedded + self.positions(x)
        h = self.dropout(embedded)
        for block in self.blocks:
            h = block(h)
        h = self.norm(h)
        output: Tensor = self.output(h if self.per_step else h.mean(1))
        return output


REGISTRY.add(
    ModelEntry(
        name="transformer",
        summary="A small transformer encoder over vectors or tokens: 4 blocks of width 64 with 4 "
        "heads, mean, outputs.",
        options=TransformerOptions,
        build=Transformer,
        input="sequence",
        task="any",
        channels_last=False,
        paper="Vaswani et al., Attention Is All You Need, 2017",
    )
)
