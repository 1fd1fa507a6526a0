"""A small language model whose steps see only what came before: `gpt`."""

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
    """As `StackOptions`; and whether the outputs are read out with the table of the tokens (tied)
    or a layer of their own.
    """

    name: ClassVar[str] = "gpt"
    tied: bool = False


class GPT(nn.Module):
    """embedding + positions → dropout → causal blocks → norm (pre and sub) → each step, or the last
    one → linear.

    Tokens and positions have a table each. Blocks are those of `fanin.models.transformer_blocks`,
    and step t sees the steps up to t only. The output has no bias. Where it is tied, the table of
    the tokens is its weight, and there is no other parameter of that name. GPT-2 small is
    ``gpt(depth=12, heads=12, tied=true, width=768)``, but for its GELU, the tanh approximation, and
    for dropout, which it has on attention weights and not between the two layers.

    Args:
        options: width, depth, heads, activation, normalization, weights of the sums, tied outputs,
            biases and dropout rate.
        input_shape: (steps,) of one sequence.
        outputs: number of outputs: the vocabulary, for the next token.
        vocabulary: number of different tokens.
        per_step: whether each step has outputs, as for the next token; otherwise the last step is
            read out.

    Raises: `FitError` for tied outputs that are not as many as the tokens; when called, for a
    sequence longer than it was built for. Source: Radford et al., Language Models are Unsupervised
    Multitask Learners, 2019.
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
                "gpt(tied=true) reads out with the table of its tokens, so it needs as many "
                "outputs as tokens; the data has "
                f"{outputs} outputs and {vocabulary} tokens. Use gpt(tied=false)."
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
        summary="A small GPT-2, for the next token of a sequence: 4 causal blocks of width 64 with "
        "4 heads, outputs.",
        options=GPTOptions,
        build=GPT,
        input="tokens",
        task="any",
        channels_last=False,
        paper="Radford et al., Language Models are Unsupervised Multitask Learners, 2019",
    )
)
