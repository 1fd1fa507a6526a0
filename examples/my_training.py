"""A user's own training loop: a small network on digits, in plain PyTorch.

In a study:

    trainer = "examples/my_training.py:train(width=32)"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


def train(
    initialize: Callable[[nn.Module], object],
    *,
    seed: int,
    split_seed: int,
    learning_rate: float = 0.1,
    batch_size: int = 32,
    epochs: int = 10,
    width: int = 64,
) -> Iterator[dict[str, float]]:
    """Yield the losses of each epoch, and return what the test set says.

    `initialize` is the cell's initializer with the cell's seed. The width is an option of this
    function, which a study may vary as ``trainer.width``; the rest is passed by name.
    """
    x_train, y_train, x_test, y_test = load_data(split_seed)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    initialize(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    n_train = len(x_train) * 9 // 10  # the rest validates
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(n_train, generator=order).split(batch_size):
            loss = F.cross_entropy(model(x_train[batch]), y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield {
            "loss": loss.item(),
            **measure(model, x_train[n_train:], y_train[n_train:], "val"),
        }
    return measure(model, x_test, y_test, "test")


def load_data(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs of 0 to 1 and classes, for training and for testing."""
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, test_size=0.2, random_state=seed % 2**32, stratify=y)
    x_train, x_test, y_train, y_test = map(torch.as_tensor, parts)
    return x_train.float(), y_train, x_test.float(), y_test


@torch.no_grad()
def measure(model: nn.Module, x: Tensor, y: Tensor, name: str) -> dict[str, float]:
    """Loss and accuracy on a subset."""
    outputs = model(x)
    return {
        f"{name}_loss": F.cross_entropy(outputs, y).item(),
        f"{name}_accuracy": (outputs.argmax(1) == y).float().mean().item(),
    }
