"""What a plan will cost: the time of a few training steps, measured here, times the steps that may
be taken.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from fanin import data, seeds
from fanin.cell.cell import Cell
from fanin.data import DataInfo, Subset
from fanin.study.feasibility import count_training_samples
from fanin.training import metrics
from fanin.training.cell_model import make_model
from fanin.training.objective import Objective
from fanin.training.steps import EVALUATION_BATCH, Trainer, evaluate_batch

BUDGET = 4.0
"""Seconds that all measurements together may take, apart from two steps of each kind."""
_MOST_STEPS = 50
_BATCHES = 4


@dataclass(frozen=True)
class Workload:
    """What decides how long a step takes: cells that agree in it are measured once."""

    model: str
    activation: str | tuple[str, ...] | None
    data: str
    normalization: str | None
    optimizer: str
    batch_size: int
    clipped: bool
    metrics: tuple[str, ...]

    @classmethod
    def from_cell(cls, cell: Cell) -> Workload:
        """The work that a cell's steps are."""
        return cls(
            cell.model,
            cell.activation,
            cell.data,
            cell.normalization,
            cell.optimizer,
            cell.batch_size,
            cell.clip_norm is not None,
            cell.metrics,
        )


@dataclass(frozen=True)
class Pace:
    """How long a kind of work takes here."""

    step: float
    """Seconds per training step."""
    evaluation: float
    """Seconds per batch of `EVALUATION_BATCH` samples that is only evaluated."""


def bound_seconds(
    cells: Iterable[Cell],
    paces: Mapping[Workload, Pace],
    sizes: Mapping[str, DataInfo],
    workers: int,
) -> float:
    """The time that training takes if every cell runs all its epochs; the start of processes and
    reading data not counted.

    Σ over cells of epochs · (training batches · step + validation batches · evaluation), divided by
    the workers that there is work for; never less than the longest cell, which one worker trains
    alone.
    """
    each = [
        _bound_cell_seconds(cell, paces[Workload.from_cell(cell)], sizes[cell.data])
        for cell in cells
    ]
    return max(sum(each) / max(1, min(workers, len(each))), max(each, default=0.0))


def measure_paces(cells: Iterable[Cell], budget: float = BUDGET) -> dict[Workload, Pace]:
    """The pace of every kind of work among the cells, on random data and one thread.

    Each kind gets an equal share of the budget in seconds. The caller's random state and thread
    count stay as they were.
    """
    kinds = {Workload.from_cell(cell): cell for cell in cells}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {work: _measure_pace(cell, budget / len(kinds)) for work, cell in kinds.items()}
    finally:
        torch.set_num_threads(threads)


def _bound_cell_seconds(cell: Cell, pace: Pace, info: DataInfo) -> float:
    """The most that a cell's epochs take; the last, smaller batch counts as a whole one."""
    n_train = count_training_samples(cell, info)
    n_validation = info.n_train - n_train or info.n_test
    epoch = (
        math.ceil(n_train / cell.batch_size) * pace.step
        + math.ceil(n_validation / EVALUATION_BATCH) * pace.evaluation
    )
    return cell.epochs * epoch


def _measure_pace(cell: Cell, budget: float) -> Pace:
    """Measured on as many random samples as a few batches hold, images as uint8 as data sets have
    them.
    """
    info, described = data.describe(cell.data), make_model(cell)
    part = _draw_samples(info, max(cell.batch_size * _BATCHES, EVALUATION_BATCH))
    task = Objective(
        info=info,
        metrics=metrics.select_metrics(info, cell.metrics),
        divisor=255.0 if part.x.dtype == torch.uint8 else 1.0,
        channels_last=described.entry.channels_last,
        smoothing=cell.label_smoothing,
    )
    trainer = Trainer.from_cell(cell, described.build_for(info), task)
    parameters = list(trainer.model.parameters())
    totals = [torch.zeros((), dtype=torch.float64) for _ in task.scored]
    batches = itertools.cycle(
        enumerate(torch.split(seeds.draw_order(0, 0, len(part.y)), cell.batch_size))
    )

    def train_step() -> None:
        step, batch = next(batches)
        x = part.x[batch]
        trainer.step(0, step, x, x if part.y is part.x else part.y[batch], parameters, totals)

    @torch.no_grad()
    def evaluation() -> None:
        x, y = part.x[:EVALUATION_BATCH], part.y[:EVALUATION_BATCH]
        evaluate_batch(trainer.model, task, x, y, torch.zeros((), dtype=torch.float64), totals)

    step = _measure_median_seconds(train_step, 0.7 * budget)
    trainer.model.eval()
    return Pace(step, _measure_median_seconds(evaluation, 0.3 * budget))


def _draw_samples(info: DataInfo, n: int) -> Subset:
    """So many samples of random numbers, in the types that data sets have them in."""
    generator = seeds.make_generator(0, "estimate")
    if info.vocabulary is not None:
        x = torch.randint(info.vocabulary, (n, *info.input_shape), generator=generator)
    else:
        x = seeds.standard_normal((n, *info.input_shape), generator)
    if info.kind == "image":
        x = x.mul_(50).add_(128).clamp_(0, 255).to(torch.uint8)
    match info.task:
        case "classification":
            return Subset(x, torch.arange(n) % info.outputs)
        case "token_classification":
            return Subset(
                x, torch.randint(info.outputs, (n, info.input_shape[0]), generator=generator)
            )
        case "autoencoding":
            return Subset(x, x)
    shape = (n,) if info.outputs == 1 else (n, info.outputs)
    return Subset(x, seeds.standard_normal(shape, generator))


def _measure_median_seconds(action: Callable[[], object], budget: float) -> float:
    """The median time of the calls that the budget allows, one at least; a first one that allocates
    is not counted.
    """
    action()
    taken: list[float] = []
    while not taken or (sum(taken) < budget and len(taken) < _MOST_STEPS):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]
