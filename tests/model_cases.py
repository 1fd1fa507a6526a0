"""Cases of the models' tests: random data of a shape, a model that is initialized, and a few steps of training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fanin
from fanin import models, seeds

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
CLASSES = 10


def images(shape: tuple[int, ...], count: int = 4) -> Tensor:
    """Standard normal numbers of that shape, the same every time."""
    return torch.randn(count, *shape, generator=seeds.generator(0, "x"))


def labels(count: int) -> Tensor:
    """Random classes, the same every time."""
    return torch.randint(CLASSES, (count,), generator=seeds.generator(0, "y"))


def initialized(spec: str, shape: tuple[int, ...], rule: str = "he_normal", seed: int = 0) -> nn.Module:
    """The model of a spec with weights that the rule drew."""
    module = models.get(spec).build(shape, CLASSES)
    fanin.initialize(module, rule, seed=seed, batch=images(shape, 2))
    return module


def count(module: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def kinds(module: nn.Module, suffix: str = "weight") -> list[str]:
    """The qualified names of the parameters that end so, without that ending."""
    return [name.removesuffix(f".{suffix}") for name, _ in module.named_parameters() if name.endswith(f".{suffix}")]


def overfits(module: nn.Module, shape: tuple[int, ...], *, samples: int = 32, steps: int = 300, lr: float = 1e-3) -> bool:
    """Whether Adam learns random labels by heart within so many steps."""
    x, y = images(shape, samples), labels(samples)
    optimizer = torch.optim.Adam(module.parameters(), lr)
    for _ in range(steps):
        outputs = module(x)
        if bool((outputs.argmax(1) == y).all()):
            return True
        optimizer.zero_grad()
        F.cross_entropy(outputs, y).backward()
        optimizer.step()
    return False
