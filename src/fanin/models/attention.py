"""Multi-head self-attention, over all steps or causal."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fanin.errors import SpecError
from fanin.models import normalization
from fanin.models.dropout import Dropout
from fanin.models.normalization import Norm


class Attention(nn.Module):
    """output(norm(concat over heads of softmax(q·kᵀ/√d)·v)), then dropout; d = width / heads.

    q, k and v are separate layers, so that each is a linear map with its own fans. Differs from
    ``nn.MultiheadAttention``, which packs them, and can drop attention weights too.

    Args:
        width: numbers in a step's vector.
        heads: number of heads, which share the width evenly.
        bias: whether the four layers have a bias.
        dropout: rate after the output.
        causal: whether step t sees only the steps up to t.
        norm: normalization before the output, over all heads together; None for none.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        bias: bool,
        dropout: float,
        causal: bool = False,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.norm = normalization.make_feature_norm(norm, width)
        self.output = nn.Linear(width, width, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, steps, width) → (N, steps, width)."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = (
            F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            .transpose(1, 2)
            .flatten(2)
        )
        output: Tensor = self.dropout(self.output(self.norm(mixed)))
        return output


def check_heads(name: str, width: int, heads: int) -> None:
    """Raise `SpecError` if the heads cannot share the width evenly."""
    if width % heads:
        raise SpecError(
            f"The heads of {name} must share its width evenly; received width={width}, "
            f"heads={heads}. Use a number of heads that divides the width."
        )
