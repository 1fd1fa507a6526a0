"""Models and batches for initializers that look at data, and what a model is at one moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds


def normal(*shape: int, seed: int = 0) -> Tensor:
    return seeds.standard_normal(shape, seeds.make_generator(seed, "test"))


def labels(count: int, classes: int, seed: int = 0) -> Tensor:
    return torch.arange(count).mul(7 + seed) % classes


def make(build: Callable[[], Any]) -> Any:
    """A model whose own start does not move the caller's generators."""
    with seeds.preserve_torch_state(0):
        return build()


def cnn() -> Any:
    """Grouped and strided convolutions, batch normalization, dropout, tanh, no square layer."""
    return make(
        lambda: nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2, groups=4, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(144, 24),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Linear(24, 10),
        )
    )


CNN_BATCH = normal(32, 3, 8, 8)
CNN_LABELS = labels(32, 10)


def plain(depth: int = 6, width: int = 40, out: int = 5) -> Any:
    """A chain of Linear and ReLU."""

    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Linear(24, width), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Linear(width, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, out))

    return make(build)


PLAIN_BATCH = normal(128, 24)
PLAIN_LABELS = labels(128, 5)


class Raw(nn.Module):
    """Raw parameters, one layer that is called twice, a recurrent layer, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(24, 32))
        self.second = nn.Parameter(torch.randn(32, 32))
        self.shared = nn.Linear(32, 32)
        self.rnn = nn.GRU(32, 16, batch_first=True)
        self.one = nn.Linear(16, 3)
        self.other = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.gelu(x @ self.first)
        h = F.linear(h, self.second).tanh()
        h = self.shared(F.relu(self.shared(h)))
        h = self.rnn(h[:, None].expand(-1, 3, -1))[0][:, -1]
        return self.one(h), self.other(h)


def raw() -> Any:
    return make(Raw)


def encoder() -> Any:
    """Two layers of torch's own transformer, and a head."""
    return make(
        lambda: nn.Sequential(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(16, 2, 24, dropout=0.1, batch_first=True),
                2,
                enable_nested_tensor=False,
            ),
            nn.Flatten(),
            nn.Linear(80, 10),
        )
    )


ENCODER_BATCH = normal(16, 5, 16)
ENCODER_LABELS = labels(16, 10)


def photograph(model: nn.Module) -> dict[str, Any]:
    """All that an error must leave as it was."""
    return {
        "weights": {name: one.detach().clone() for name, one in model.named_parameters()},
        "buffers": {name: one.clone() for name, one in model.named_buffers()},
        "identities": {name: id(one) for name, one in model.named_parameters()},
        "requires_grad": {name: one.requires_grad for name, one in model.named_parameters()},
        "gradients": {name: one.grad for name, one in model.named_parameters()},
        "training": {name: one.training for name, one in model.named_modules()},
        "hooks": {
            name: (len(one._forward_hooks), len(one._forward_pre_hooks))
            for name, one in model.named_modules()
        },
        "torch": torch.get_rng_state(),
        "python": random.getstate()[1],
        "numpy": np.random.get_state()[1],
        "fast path": torch.backends.mha.get_fastpath_enabled(),
    }


def list_changes(before: dict[str, Any], model: nn.Module) -> list[str]:
    """What differs from a photograph, by name."""
    return list(_compare(before, photograph(model), ""))


def _compare(one: Any, other: Any, name: str) -> list[str]:
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [name]
        return [text for key in one for text in _compare(one[key], other[key], f"{name} {key}")]
    if isinstance(one, (Tensor, np.ndarray)):
        same = np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
    else:
        same = one == other
    return [] if same else [name.strip()]
