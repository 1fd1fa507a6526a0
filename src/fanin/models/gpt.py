"""A small causal language model: `gpt`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.models import normalization
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.dropout import Dropout
from fanin.models.position_encoding import LearnedPositions
from fanin.models.transformer_blocks import StackOptions, make_blocks


@dataclass(frozen=True)
class GPTOptions(StackOptions):
    """`StackOptions`, and whether the output layer shares the weight of the token table (tied)."""

    name: ClassVar[str] = "gpt"
    tied: bool = False


class GPT(nn.Module):
    """embedding + positions → dropout → causal blocks → norm → each step, or the last → linear.

    Tokens and positions have a table each. `fanin.models.transformer_blocks` has the blocks; step t
    sees the steps up to t only. The norm is there with norm=pre and norm=sub. The output has no
    bias. If it is tied, its weight is the token table, and there is no separate parameter. GPT-2
    small is ``gpt(depth=12, heads=12, tied=true, width=768)``, except that its GELU is the tanh
    approximation, and that it drops attention weights, and nothing between the two layers of a
    block.

    Args:
        options: width, depth, heads, activation, normalization, weights of the sums, tied outputs,
            biases and dropout rate.
        input_shape: (steps,) of one sequence.
        outputs: number of outputs: the vocabulary, to predict the next token.
        vocabulary: number of different tokens.
        per_step: whether each step has outputs, as to predict the next token; otherwise only the
            last step has.

    Raises: `FitError` for tied outputs if outputs and tokens differ in number; when called, for a
    sequence longer than the model was built for.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
    """

    def __init__(
        self,
        options: GPTOptions,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int,
        per_step: bool = False,
    ) -> None:
        super().__init__()
        if options.tied and outputs != vocabulary:
            raise FitError(
                "gpt(tied=true) uses its token table as output weight, so it needs as many outputs "
                f"as tokens; the data has {outputs} outputs and {vocabulary} tokens. Use "
                "gpt(tied=false)."
            )
        self.per_step = per_step
        self.embedding = nn.Embedding(vocabulary, options.width)
        self.positions = LearnedPositions("gpt", input_shape[0], options.width)
        self.dropout = Dropout(options.dropout)
        self.blocks = make_blocks(options, causal=True)
        self.norm = normalization.make_feature_norm(options.final_norm, options.width)
        self.output = None if options.tied else nn.Linear(options.width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, steps) → (N, outputs), or (N, steps, outputs)."""
        h = self.dropout(self.embedding(x) + self.positions(x))
        for block in self.blocks:
            h = block(h)
        h = self.norm(h if self.per_step else h[:, -1])
        output: Tensor = (
            F.linear(h, self.embedding.weight) if self.output is None else self.output(h)
        )
        return output


REGISTRY.add(
    ModelEntry(
        name="gpt",
        summary="A small GPT-2, to predict the next token: 4 causal blocks of width 64 with 4 "
        "heads, outputs.",
        options=GPTOptions,
        build=GPT,
        input="tokens",
        task="any",
        channels_last=False,
        paper="Radford et al., Language Models are Unsupervised Multitask Learners, 2019",
    )
)
