"""The baseline: the loss on the batch itself after 20 steps of training a copy on it."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from forecast_grid.tasks import Task

STEPS, SAMPLES = 20, 128


def take_batch(task: Task) -> tuple[Tensor, Tensor]:
    """What audits and probes are given."""
    return task.x[:SAMPLES], task.y[:SAMPLES]


def probe_start(model: nn.Module, task: Task, optimizer: str, rate: float) -> float:
    """The loss after the steps over that of the best constant; infinite if it is no number."""
    x, y = take_batch(task)
    twin = copy.deepcopy(model).train()
    make = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    stepper = make(twin.parameters(), lr=rate)
    for _ in range(STEPS):
        stepper.zero_grad()
        task.compute_loss(twin(x), y).backward()
        stepper.step()
    with torch.no_grad():
        loss = float(task.compute_loss(twin(x), y)) / _measure_constant(task, y)
    return loss if math.isfinite(loss) else math.inf


def _measure_constant(task: Task, y: Tensor) -> float:
    if not task.classes:
        return float(y.var(correction=0))
    shares = torch.bincount(y).double() / len(y)
    return float(-(shares * shares.clamp(min=1e-12).log()).sum())
