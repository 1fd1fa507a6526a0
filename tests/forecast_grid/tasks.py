"""Small real data, standardized, with a part held out for validation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import fanin.data
from fanin import seeds
from fanin.data.datasets.scikit_learn import import_loader

SAMPLES, VALIDATION = 1500, 0.3
"""At most so many samples, and the share of them that is held out."""


@dataclass(frozen=True)
class Task:
    """Inputs and targets, for training and for validation."""

    x: Tensor
    y: Tensor
    x_valid: Tensor
    y_valid: Tensor
    outputs: int
    classes: bool
    """Whether targets are classes; else they are one standardized number."""

    @property
    def uninformed(self) -> float:
        """The validation error of the best constant prediction."""
        if not self.classes:
            return float((self.y_valid - self.y.mean()).square().mean())
        most = torch.bincount(self.y).argmax()
        return float((self.y_valid != most).float().mean())

    def measure_errors(self, outputs: Tensor) -> Tensor:
        """The share of wrong classes, or the mean squared error, of each (…, N, outputs)."""
        if self.classes:
            return (outputs.argmax(-1) != self.y_valid).float().mean(-1)
        return (outputs - self.y_valid).square().mean((-1, -2))

    def compute_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy or the mean squared error."""
        return F.cross_entropy(output, target) if self.classes else F.mse_loss(output, target)


@functools.cache
def make_task(name: str) -> Task:
    """The data of one name, shuffled once; columns are standardized by the training part."""
    x, y = _READERS[name]()
    order = torch.randperm(len(x), generator=seeds.make_generator(0, "split", name))[:SAMPLES]
    x, y = x[order].float(), y[order]
    held = int(len(x) * VALIDATION)
    mean, std = x[held:].mean(0), x[held:].std(0)
    if x.dim() == 4:  # an image's pixels have one scale
        mean, std = x[held:].mean(), x[held:].std()
    x = (x - mean) / std.clamp(min=1e-3)
    classes = not y.is_floating_point()
    if not classes:
        y = ((y - y[held:].mean()) / y[held:].std()).float()[:, None]
    outputs = int(y.max()) + 1 if classes else 1
    return Task(x[held:], y[held:], x[:held], y[:held], outputs, classes)


def _read_embedded(loader: str) -> tuple[Tensor, Tensor]:
    bunch = import_loader(loader)()
    x, y = torch.tensor(bunch.data), torch.tensor(bunch.target)
    return (x.view(-1, 1, 8, 8) if loader == "load_digits" else x), y


def _read_fashion() -> tuple[Tensor, Tensor]:
    """28 × 28 pixels, averaged to 7 × 7."""
    found = fanin.data.load("fashion-mnist")
    return F.avg_pool2d(found.x_train[:SAMPLES].float(), 4), found.y_train[:SAMPLES]


def _read_california() -> tuple[Tensor, Tensor]:
    found = fanin.data.load("california-housing")
    return found.x_train, found.y_train.double().flatten()


_READERS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "digits": functools.partial(_read_embedded, "load_digits"),
    "wine": functools.partial(_read_embedded, "load_wine"),
    "diabetes": functools.partial(_read_embedded, "load_diabetes"),
    "breast-cancer": functools.partial(_read_embedded, "load_breast_cancer"),
    "fashion-mnist": _read_fashion,
    "california-housing": _read_california,
}
