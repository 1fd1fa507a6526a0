"""Broken models for the audit's advice, and a real task of a hundred steps to train them on."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.advice import copy_model

CLASSES = 10


def make_batch(samples: int = 128) -> tuple[Tensor, Tensor]:
    """Ten noisy patterns of 64 numbers, and which pattern it is."""
    generator = seeds.make_generator(0, "advice cases")
    patterns = torch.randn(CLASSES, 64, generator=generator)
    labels = torch.arange(samples) % CLASSES
    return patterns[labels] + 0.7 * torch.randn(samples, 64, generator=generator), labels


@seeds.preserve_torch_state(0)
def make_mlp(activation: Callable[[], nn.Module], depth: int, width: int = 64) -> nn.Sequential:
    """A plain stack with torch's default start."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(64, width) if not layers else nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def change(model: nn.Module, function: Callable[[str, Tensor], object]) -> nn.Module:
    """The model after a function of the name and values of each parameter."""
    with torch.no_grad(), seeds.preserve_torch_state(1):
        for name, parameter in model.named_parameters():
            function(name, parameter)
    return model


def make_deep_relu() -> nn.Module:
    """torch's default in a deep plain ReLU network: signals and gradients die."""
    return make_mlp(nn.ReLU, 20)


def make_deep_tanh() -> nn.Module:
    return make_mlp(nn.Tanh, 20)


def make_deep_sigmoid() -> nn.Module:
    """No scale of weights repairs this one."""
    return make_mlp(nn.Sigmoid, 12)


def make_unit_normal() -> nn.Module:
    """All weights from N(0, 1)."""
    return change(make_mlp(nn.ReLU, 4), lambda _, x: x.normal_() if x.dim() > 1 else None)


def make_zeros() -> nn.Module:
    return change(make_mlp(nn.ReLU, 4), lambda _, x: x.zero_())


def make_constant() -> nn.Module:
    return change(make_mlp(nn.ReLU, 4), lambda _, x: x.fill_(0.1) if x.dim() > 1 else None)


def make_big_head() -> nn.Module:
    return change(make_mlp(nn.ReLU, 3), lambda name, x: x.mul_(100) if name == "6.weight" else None)


def make_dead_biases() -> nn.Module:
    """Biases of -10 before ReLUs."""
    return change(make_mlp(nn.ReLU, 4), lambda name, x: x.fill_(-10) if name == "2.bias" else None)


def train(
    model: nn.Module, make: Callable[..., torch.optim.Optimizer], rate: float, steps: int = 100
) -> float:
    """The mean loss over all steps: how fast the model learns. Infinite if it diverges."""
    model = copy_model(model).train()
    inputs, labels = make_batch(512)
    optimizer = make(model.parameters(), lr=rate)
    total = 0.0
    for step in range(steps):
        index = torch.arange(64 * step, 64 * step + 64) % len(inputs)
        loss = F.cross_entropy(model(inputs[index]), labels[index])
        if not torch.isfinite(loss):
            return float("inf")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / steps


def train_best(model: nn.Module) -> float:
    """The mean loss over a hundred steps of Adam, with the better of two learning rates."""
    return min(train(model, torch.optim.Adam, rate) for rate in (1e-3, 1e-2))
