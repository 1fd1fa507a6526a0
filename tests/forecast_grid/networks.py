"""Small networks of one width: plain, normalized, residual, convolutional."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.models import activations

KINDS = ("plain", "layer_norm", "batch_norm", "residual", "conv")


def make_network(
    kind: str, depth: int, width: int, activation: str, shape: tuple[int, ...], outputs: int
) -> nn.Module:
    """A network with `depth` hidden layers, or residual blocks."""
    make = activations.get(activation).build
    with seeds.preserve_torch_state(0):
        if kind == "conv":
            return _make_convolutions(depth, width, activation, shape[0], outputs)
        inputs = math.prod(shape)
        if kind == "residual":
            blocks = [ResidualBlock(width, make()) for _ in range(depth)]
            return nn.Sequential(
                nn.Flatten(), nn.Linear(inputs, width), *blocks, nn.Linear(width, outputs)
            )
        layers: list[nn.Module] = [nn.Flatten()]
        for index in range(depth):
            layers.append(nn.Linear(width if index else inputs, width))
            if kind != "plain":
                layers.append(nn.LayerNorm(width) if "layer" in kind else nn.BatchNorm1d(width))
            layers.append(make())
        return nn.Sequential(*layers, nn.Linear(width, outputs))


class ResidualBlock(nn.Module):
    """x + W₂ f(W₁ x), without normalization."""

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.activation = nn.Linear(width, width), activation
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(self.activation(self.first(x)))
        return y


class MeanPool(nn.Module):
    """The mean of each channel over all places."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.mean(x, (2, 3))


def _make_convolutions(
    depth: int, width: int, activation: str, channels: int, outputs: int
) -> nn.Module:
    """3 × 3 convolutions at full size, and the mean over places."""
    make = activations.get(activation).build
    layers: list[nn.Module] = []
    for index in range(depth):
        stride = 2 if index == 0 else 1
        layers += [nn.Conv2d(width if index else channels, width, 3, stride, padding=1), make()]
    return nn.Sequential(*layers, MeanPool(), nn.Linear(width, outputs))
