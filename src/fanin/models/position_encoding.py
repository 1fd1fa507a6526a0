"""Position encodings of the steps of a sequence: fixed sinusoids, or a learned table."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fanin.errors import FitError


class Sinusoids(nn.Module):
    """Adds P[t, 2i] = sin(t·ω_i) and P[t, 2i + 1] = cos(t·ω_i), ω_i = 10000^(−2i/width).

    The steps are t = 0, 1, …, of sequences of any length. The mean square of P is 1/2. It has no
    parameters, so that it does not depend on the initializer.

    Source: Vaswani et al., Attention Is All You Need, 2017, section 3.5.
    """

    frequencies: Tensor
    """ω_i, of shape (⌈width/2⌉,); not persistent, because it is a function of the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("frequencies", torch.empty((width + 1) // 2), persistent=False)
        self.reset_buffers()

    def reset_buffers(self) -> None:
        """Fill in the frequencies, if there is memory for them."""
        if self.frequencies.is_meta:
            return  # torch would import its compiler for arithmetic there
        even = torch.arange(0, self.width, 2, device=self.frequencies.device)
        self.frequencies.copy_(torch.exp(even * (-math.log(10_000) / self.width)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, steps, width) → (N, steps, width)."""
        # Steps are counted without reading a shape, so that the model can be traced. fp32 counts
        # exactly up to 2^24.
        steps = torch.ones_like(x[:1, :, :1], dtype=torch.float32).cumsum(1) - 1
        angles = steps * self.frequencies
        waves = torch.stack([torch.sin(angles), torch.cos(angles)], -1).flatten(2)
        return x + waves[:, :, : self.width].type_as(x)


class LearnedPositions(nn.Embedding):
    """A table with a learned vector for each step; initializers treat it as an embedding.

    Args:
        name: the name of the model, for errors.
        steps: the length of the longest sequence.
        width: numbers in a step's vector.
    """

    def __init__(self, name: str, steps: int, width: int) -> None:
        super().__init__(steps, width)
        self.model = name

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, steps, …) → the vectors of the steps (steps, width).

        Raises `FitError` if there are more steps than vectors.
        """
        steps = inputs.shape[1]
        if steps > self.num_embeddings:
            raise FitError(
                f"This {self.model} has positions for sequences of up to {self.num_embeddings} "
                f"steps; received {steps}. Cut the sequences, or build the model for longer ones."
            )
        return self.weight[:steps]
