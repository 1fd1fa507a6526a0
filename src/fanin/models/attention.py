"""Multi-head self-attention, over all steps or over those up to each step's own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fanin.errors import SpecError
from fanin.models import normalization
from fanin.models.dropout import Dropout
from fanin.models.normalization import Norm


class Attention(nn.Module):
    """output(norm(concat over heads of softmax(q·kᵀ/√d)·v)), d = width / heads; then dropout.

    q, k and v are layers of their own, so that each is a linear map with fans of its own. Differs
    from ``nn.MultiheadAttention``, which packs them, and can drop attention weights too.

    Args:
        width: numbers in a step's vector.
        heads: they share the width evenly.
        bias: whether the four layers have one.
        dropout: rate behind the output.
        causal: step t sees the steps up to t only; otherwise all.
        norm: before the output projection, over all heads together; None for nothing there.
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
    """Raise a `SpecError` where the heads cannot share the width evenly."""
    if width % heads:
        raise SpecError(
            f"The heads of {name} share its width evenly; received width={width}, heads={heads}. "
            f"Use a number of heads that divides the width."
        )
