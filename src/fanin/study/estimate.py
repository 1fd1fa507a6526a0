"""What a plan will cost: the time of a few training steps, measured here, times the steps that may be taken."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.nn.utils import convert_conv2d_weight_memory_format

from fanin import data, seeds
from fanin.data import DataInfo
from fanin.models.dropout import DropoutKeys
from fanin.study import optimizers
from fanin.study.cell import Cell
from fanin.study.protocol import PROTOCOLS
from fanin.study.spec import model_of
from fanin.study.train import EVALUATION_BATCH, Task

BUDGET = 4.0
"""Seconds that all measurements together may take, apart from two steps of each kind."""
_MOST_STEPS = 50
_BATCHES = 4


@dataclass(frozen=True)
class Work:
    """What decides how long a step takes: cells that agree in it are measured once."""

    model: str
    activation: str | tuple[str, ...] | None
    data: str
    optimizer: str
    batch_size: int

    @classmethod
    def of(cls, cell: Cell) -> Work:
        """The work that a cell's steps are."""
        return cls(cell.model, cell.activation, cell.data, cell.optimizer, cell.batch_size)


@dataclass(frozen=True)
class Pace:
    """How long a kind of work takes here."""

    step: float
    """Seconds per training step."""
    evaluation: float
    """Seconds per batch of `EVALUATION_BATCH` samples that is only evaluated."""


def seconds_at_most(cells: Iterable[Cell], paces: Mapping[Work, Pace], sizes: Mapping[str, DataInfo], workers: int) -> float:
    """The time that training takes if every cell runs all its epochs; the start of processes and reading data not counted.

    Σ over cells of epochs · (training batches · step + validation batches · evaluation), divided by the workers that there is
    work for; never less than the longest cell, which one worker trains alone.
    """
    each = [_cell_seconds(cell, paces[Work.of(cell)], sizes[cell.data]) for cell in cells]
    return max(sum(each) / max(1, min(workers, len(each))), max(each, default=0.0))


def measured(cells: Iterable[Cell], budget: float = BUDGET) -> dict[Work, Pace]:
    """The pace of every kind of work among the cells, on random data and one thread.

    Each kind gets an equal share of the budget in seconds. The caller's random state and thread count stay as they were.
    """
    kinds = {Work.of(cell): cell for cell in cells}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {work: _pace(cell, budget / len(kinds)) for work, cell in kinds.items()}
    finally:
        torch.set_num_threads(threads)


def _cell_seconds(cell: Cell, pace: Pace, info: DataInfo) -> float:
    """The most that a cell's epochs take; the last, smaller batch counts as a whole one."""
    holdout = PROTOCOLS.get(cell.protocol).holdout
    n_validation = round(info.n_train * holdout) if holdout else info.n_test
    n_train = info.n_train - (n_validation if holdout else 0)
    epoch = math.ceil(n_train / cell.batch_size) * pace.step + math.ceil(n_validation / EVALUATION_BATCH) * pace.evaluation
    return cell.epochs * epoch


def _pace(cell: Cell, budget: float) -> Pace:
    """Measured on as many random samples as a few batches hold, images as uint8 as data sets have them."""
    info, described = data.describe(cell.data), model_of(cell)
    n = max(cell.batch_size * _BATCHES, EVALUATION_BATCH)
    x = seeds.standard_normal((n, *info.input_shape), seeds.generator(0, "estimate"))
    is_image, classifies = len(info.input_shape) == 3, info.task == "classification"
    x = x.mul_(50).add_(128).clamp_(0, 255).to(torch.uint8) if is_image else x
    y = torch.arange(n) % info.outputs if classifies else torch.linspace(-1, 1, n)
    task = Task(
        metric="accuracy" if classifies else "mae",
        better=max,
        divisor=255.0 if is_image else 1.0,
        channels_last=described.entry.channels_last,
        scale=1.0,
    )
    model = described.build_for(info)
    if task.channels_last:
        convert_conv2d_weight_memory_format(model, torch.channels_last)
    optimizer = optimizers.get(cell.optimizer)[1].make(model.parameters(), cell.learning_rate)
    dropout = DropoutKeys(model, 0)
    batches = itertools.cycle(enumerate(torch.split(seeds.order(0, 0, n), cell.batch_size)))

    def train_step() -> None:
        step, batch = next(batches)
        inputs, targets = task.batch(x[batch]), y[batch]
        dropout.set(0, step)
        optimizer.zero_grad(set_to_none=True)
        outputs = model(inputs)
        torch.autograd.backward(task.loss(outputs, targets))
        optimizer.step()
        task.score(outputs.detach(), targets)

    @torch.no_grad()
    def evaluate() -> None:
        outputs = model(task.batch(x[:EVALUATION_BATCH]))
        task.loss(outputs, y[:EVALUATION_BATCH])
        task.score(outputs, y[:EVALUATION_BATCH])

    step = _median_seconds(train_step, 0.7 * budget)
    model.eval()
    return Pace(step, _median_seconds(evaluate, 0.3 * budget))


def _median_seconds(action: Callable[[], object], budget: float) -> float:
    """The median time of the calls that the budget allows, one at least; a first one that allocates is not counted."""
    action()
    taken: list[float] = []
    while not taken or (sum(taken) < budget and len(taken) < _MOST_STEPS):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]
