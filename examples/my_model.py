"""A user's model: a chain of residual blocks on the flattened input.

In a study:

    model = "examples/my_model.py:make(depth=8)"
"""

from __future__ import annotations

import math

from torch import Tensor, nn


class Block(nn.Module):
    """x + W₂ tanh(W₁ x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x)


def make(
    input_shape: tuple[int, ...], outputs: int, *, width: int = 32, depth: int = 4
) -> nn.Module:
    """Return residual blocks of one width, for any input that can be flattened."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), width),
        *(Block(width) for _ in range(depth)),
        nn.Linear(width, outputs),
    )
