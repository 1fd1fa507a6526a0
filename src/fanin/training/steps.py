"""Steps: a model on its way through an epoch, and its evaluation. The hot loop of all training
stands here, once.

The rules of speed: data in memory as one tensor, images as uint8 and converted per batch; no Python
work per sample; no synchronisation inside an epoch (sums stay tensors until its end).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from fanin import seeds
from fanin.cell.cell import Cell
from fanin.data import Subset
from fanin.errors import FitError
from fanin.models.dropout import DropoutKeys
from fanin.training import optimizers, schedules
from fanin.training.augmentation import Augmenter
from fanin.training.objective import Objective
from fanin.training.schedules import Schedule

EVALUATION_BATCH = 128
"""Samples per forward pass when nothing is learnt; fixed, since a result's last bits depend on it.
Small enough that no activation of the CNN exceeds the 32 MiB from which glibc maps memory anew at
every allocation."""

GATHERED = 32
"""Batches that are gathered at once: 6 MiB of CIFAR's bytes."""


@dataclass(frozen=True)
class Losses:
    """The training losses of an epoch's steps, fetched once at its end."""

    by_step: Tensor
    """fp32, one per step, in the loss' units."""
    mean: float
    """Mean over samples: the running mean that a progress bar would show last."""


@dataclass
class Trainer:
    """A model and all that changes it."""

    cell: Cell
    model: nn.Module
    task: Objective
    optimizer: torch.optim.Optimizer
    dropout: DropoutKeys
    schedule: Schedule | None
    """None for a constant learning rate."""
    augmenter: Augmenter | None

    @classmethod
    def of(cls, cell: Cell, model: nn.Module, task: Objective) -> Trainer:
        """What trains the model as the cell says; the model is on its device already."""
        if task.channels_last:
            convert_conv2d_weight_memory_format(model, torch.channels_last)
        return cls(
            cell=cell,
            model=model,
            task=task,
            optimizer=optimizers.get(cell.optimizer)[1].make(model, cell.learning_rate),
            dropout=DropoutKeys(model, cell.seed_of("dropout")),
            schedule=None if cell.schedule == "constant" else schedules.get(cell.schedule)[1],
            augmenter=Augmenter(cell.augmentation, cell.seed_of("augment"))
            if cell.augmentation
            else None,
        )

    def epoch(self, epoch: int, part: Subset) -> tuple[Losses, list[float]]:
        """One pass over the training part: the losses and the scores' means, all running, in
        training mode.
        """
        self.model.train()
        cell, device = self.cell, part.y.device
        order = seeds.draw_order(cell.seed_of("order"), epoch, len(part.y)).to(device)
        steps = math.ceil(len(order) / cell.batch_size)  # the last, smaller batch is kept
        by_step = torch.zeros(steps, device=device)
        totals = [torch.zeros((), dtype=torch.float64, device=device) for _ in self.task.scored]
        parameters = list(self.model.parameters())
        self._refuse_one_sample(len(order) - (steps - 1) * cell.batch_size)
        # What a user's model draws itself, by torch's own dropout for one, starts from a number of
        # this epoch.
        with seeds.preserve_torch_state(seeds.derive_stream(cell.seed_of("dropout"), "global", epoch)):
            for step, (x, y) in enumerate(self._batches(part, order, epoch)):
                if self.schedule is not None:
                    factor = self.schedule.factor(epoch * steps + step, steps, cell.epochs)
                    optimizers.set_rate(self.optimizer, cell.learning_rate * factor)
                by_step[step] = self.step(epoch, step, x, y, parameters, totals)
        sizes = torch.full((steps,), cell.batch_size, dtype=torch.float64, device=device)
        sizes[-1] = len(order) - (steps - 1) * cell.batch_size
        mean = (by_step.double() * sizes).sum() / len(part.y)
        return Losses(by_step, float(mean)), [float(total) / len(part.y) for total in totals]

    def step(
        self,
        epoch: int,
        step: int,
        x: Tensor,
        y: Tensor,
        parameters: list[nn.Parameter],
        totals: list[Tensor],
    ) -> Tensor:
        """One step on a batch as the data hold it; adds the scores to `totals` and returns the
        loss, detached.
        """
        self.dropout.set(epoch, step)
        for parameter in parameters:  # as optimizer.zero_grad does, without its bookkeeping
            parameter.grad = None
        inputs = self.task.batch(x)
        targets = self.task.targets(inputs, y)
        outputs = self.model(inputs)
        loss = self.task.training_loss(outputs, targets)
        torch.autograd.backward(loss)
        if self.cell.clip_norm is not None:
            optimizers.clip_(parameters, self.cell.clip_norm)
        self.optimizer.step()
        for total, metric in zip(totals, self.task.scored, strict=True):
            total += metric.score(outputs.detach(), targets)  # type: ignore[misc]
        return loss.detach()

    def _refuse_one_sample(self, last: int) -> None:
        """Batch normalization has no variance of one sample, and torch's error does not say what to
        do.
        """
        if last == 1 and any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.model.modules()
        ):
            raise FitError(
                "An epoch's last batch has one sample, which batch normalization cannot take. Use "
                "another batch_size than "
                f"{self.cell.batch_size}."
            )

    def _batches(self, part: Subset, order: Tensor, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The part's batches in that order, gathered many at a time: small ones cost more to gather
        than to train on.
        """
        size = self.cell.batch_size
        draws = (
            self.augmenter.draws(epoch, len(order), device=order.device) if self.augmenter else None
        )
        for chunk in torch.split(order, size * GATHERED):
            x = part.x[chunk]
            if self.augmenter and draws is not None:
                x = self.augmenter.apply(x, chunk, draws)
            y = x if part.y is part.x else part.y[chunk]
            yield from zip(torch.split(x, size), torch.split(y, size), strict=True)


@torch.no_grad()
def evaluate(model: nn.Module, task: Objective, part: Subset) -> tuple[float, list[float]]:
    """Mean loss and mean scores over a part, in evaluation mode and in the loss' units."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=part.y.device)
    totals = [torch.zeros_like(loss) for _ in task.scored]
    for start in range(0, len(part.y), EVALUATION_BATCH):
        x, y = (whole[start : start + EVALUATION_BATCH] for whole in (part.x, part.y))
        evaluate_batch(model, task, x, y, loss, totals)
    return float(loss) / len(part.y), [float(total) / len(part.y) for total in totals]


def evaluate_batch(
    model: nn.Module, task: Objective, x: Tensor, y: Tensor, loss: Tensor, totals: list[Tensor]
) -> None:
    """Add a batch's loss, times its samples, and its scores to the sums."""
    inputs = task.batch(x)
    targets = task.targets(inputs, y)
    outputs = model(inputs)
    loss += task.loss(outputs, targets).double() * len(x)
    for total, metric in zip(totals, task.scored, strict=True):
        total += metric.score(outputs, targets)  # type: ignore[misc]
