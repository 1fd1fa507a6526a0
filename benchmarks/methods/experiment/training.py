"""Small trainings: subsets of image data, a loop over shuffled batches, loss and accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import data, seeds

Optimizer = Callable[..., torch.optim.Optimizer]


@dataclass(frozen=True)
class Images:
    """Images, standardised with mean and deviation of the training images, and their classes."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x_train.shape[1:])


@lru_cache(maxsize=4)
def load_images(name: str, n_train: int, n_test: int, side: int | None = None) -> Images:
    """The first images of a fixed shuffle of each subset, averaged down to `side` pixels."""
    found = data.load(name)
    parts = []
    for x, y, n in (
        (found.x_train, found.y_train, n_train),
        (found.x_test, found.y_test, n_test),
    ):
        picked = seeds.draw_order(0, 0, len(x))[:n]
        images = x[picked].float() / found.divisor
        if side is not None:
            images = F.adaptive_avg_pool2d(images, side)
        parts.append((images, y[picked].long()))
    (x_train, y_train), (x_test, y_test) = parts
    axes = (0, 2, 3)
    mean, sd = x_train.mean(axes, keepdim=True), x_train.std(axes, keepdim=True)
    return Images((x_train - mean) / sd, y_train, (x_test - mean) / sd, y_test)


@lru_cache(maxsize=2)
def load_digits(form: Literal["flat", "rows", "image"]) -> tuple[Tensor, Tensor]:
    """The training images of digits, standardised as a whole, and their classes.

    They come with scikit-learn: 1,438 images of 8×8, which may be sequences of 8 rows.
    """
    found = data.load("rows(of=digits)" if form == "rows" else "digits")
    x = found.x_train.float() / found.divisor
    x = (x - x.mean()) / x.std()
    return (x.flatten(1) if form == "flat" else x), found.y_train.long()


@lru_cache(maxsize=1)
def load_digits_test() -> tuple[Tensor, Tensor]:
    """The 359 test images of digits, scaled as the training images are, and their classes."""
    found = data.load("digits")
    x_train, x_test = (x.float() / found.divisor for x in (found.x_train, found.x_test))
    return (x_test - x_train.mean()) / x_train.std(), found.y_test.long()


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    rate: Callable[[int], float] = lambda _: 1.0,
    clip: float | None = None,
) -> list[float]:
    """Take steps over batches of shuffled epochs, and return the loss of each batch.

    Args:
        model: trained in place, in train mode.
        optimizer: of its parameters.
        x, y: samples and targets.
        steps: how many; fewer are taken if a loss is not finite.
        batch_size: an epoch's incomplete last batch is left out.
        seed: of the order.
        loss: of outputs and targets.
        rate: step → factor on the learning rate.
        clip: the largest norm of the gradient.

    Returns:
        `steps` numbers; inf from the first loss on that is not finite.
    """
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    losses: list[float] = []
    per_epoch = len(x) // batch_size
    for step in range(steps):
        if step % per_epoch == 0:
            order = seeds.draw_order(seed, step // per_epoch, len(x))
        at = order[step % per_epoch * batch_size :][:batch_size]
        value = loss(model(x[at]), y[at])
        if not math.isfinite(value.item()):
            break
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        schedule.step()
    return losses + [math.inf] * (steps - len(losses))


@lru_cache(maxsize=2)
def load_text(window: int) -> tuple[Tensor, Tensor, int]:
    """Windows of tiny Shakespeare's training text, the characters that follow, and how many
    characters there are.
    """
    found = data.load(f"tiny-shakespeare(length={window})")
    assert found.info.vocabulary is not None
    return found.x_train.long(), found.y_train.long(), found.info.vocabulary


@lru_cache(maxsize=2)
def load_test_text(window: int) -> tuple[Tensor, Tensor]:
    """300 windows of its test text, and the characters that follow."""
    found = data.load(f"tiny-shakespeare(length={window})")
    return found.x_test[:300].long(), found.y_test[:300].long()


def compute_step_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross entropy of all steps."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, batch_size: int = 500) -> Tensor:
    """The outputs in evaluation mode."""
    model.eval()
    return torch.cat([model(part) for part in x.split(batch_size)])


def measure_accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of right classes; outputs that are not finite are wrong."""
    outputs = predict(model, x)
    right = (outputs.argmax(1) == y) & outputs.isfinite().all(1)
    return float(right.float().mean())


def measure_loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The mean cross entropy; inf if it is not finite."""
    value = float(F.cross_entropy(predict(model, x), y))
    return value if math.isfinite(value) else math.inf


def average(losses: Sequence[float], last: int) -> float:
    """The mean of the last losses."""
    return sum(losses[-last:]) / last


def thin(losses: Sequence[float], points: int = 40) -> tuple[list[int], list[float]]:
    """Step numbers and mean losses of equal stretches: a curve with a moderate number of points."""
    length = max(len(losses) // points, 1)
    starts = range(0, len(losses) - length + 1, length)
    return (
        [start + length // 2 for start in starts],
        [float(f"{sum(losses[start : start + length]) / length:.4g}") for start in starts],
    )
