"""Models for the tests of starts that scale by depth and width, and what they are observed on."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from model_level_cases import make_language
from torch import Tensor, nn

from fanin import seeds

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason='needs the extra "peers"'
)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def tokens(words: int = 30) -> Tensor:
    return torch.randint(0, words, (2, 8), generator=torch.Generator().manual_seed(0))


def make_encoder(width: int = 16, depth: int = 2, **options: Any) -> nn.Module:
    """torch's own encoder, whose attention packs q, k and v."""
    with seeds.preserve_torch_state(0):
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, **options)
        return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def make_gpt2(width: int = 32, depth: int = 3) -> nn.Module:
    """transformers' GPT-2: Conv1D of shape (in, out), packed q, k, v, tied head."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=depth,
        n_head=4,
        n_embd=width,
        vocab_size=30,
        n_positions=16,
        bos_token_id=None,
        eos_token_id=None,
    )
    with seeds.preserve_torch_state(0):
        return GPT2LMHeadModel(config)


class GroupedBlock(nn.Module):
    """A residual block that ends with a grouped convolution, and one that ends transposed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.two = nn.Conv2d(2 * width, width, 3, padding=1, groups=4)
        self.three = nn.Conv2d(width, width, 3, padding=1)
        self.four = nn.ConvTranspose2d(width, width, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.two(torch.relu(self.one(x)))
        y: Tensor = x + self.four(torch.relu(self.three(x)))
        return y


class Images(nn.Module):
    """A stem, residual blocks of grouped and transposed convolutions, and a readout."""

    def __init__(self, width: int = 8, depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(GroupedBlock(width) for _ in range(depth)))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return y


def make_images(width: int = 8, depth: int = 2) -> Images:
    with seeds.preserve_torch_state(0):
        return Images(width, depth)


def make_perceptron(width: int = 64) -> nn.Sequential:
    with seeds.preserve_torch_state(0):
        return nn.Sequential(
            nn.Linear(10, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
        )


CASES = {
    "torch's encoder": (make_encoder, draw(2, 5, 16), 4),
    "language": (make_language, tokens(), 6),
    "images": (make_images, draw(2, 3, 6, 6), 4),
}
"""A model, its batch, and the number of its branches."""
