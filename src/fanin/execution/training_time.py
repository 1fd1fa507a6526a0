"""How long training takes at most: the measured time of a step, times the number of steps."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from fanin import data, seeds
from fanin.cell.cell import Cell
from fanin.data import DataInfo
from fanin.study.feasibility import count_training_samples
from fanin.training.cell_model import make_model
from fanin.training.random_samples import draw_samples, make_random_objective
from fanin.training.steps import EVALUATION_BATCH, Trainer, evaluate_batch

BUDGET = 4.0
"""Seconds for all measurements together, apart from two steps of each workload."""
_MAX_STEPS = 50
_BATCHES = 4


@dataclass(frozen=True)
class Workload:
    """The fields of a cell that decide how long a step takes. Cells that share them are measured
    once.
    """

    model: str
    activation: str | tuple[str, ...] | None
    data: str
    normalization: str | None
    optimizer: str
    batch_size: int
    clipped: bool
    metrics: tuple[str, ...]
    loss: str | None

    @classmethod
    def from_cell(cls, cell: Cell) -> Workload:
        """The workload of a cell."""
        return cls(
            cell.model,
            cell.activation,
            cell.data,
            cell.normalization,
            cell.optimizer,
            cell.batch_size,
            cell.clip_norm is not None,
            cell.metrics,
            cell.loss,
        )


@dataclass(frozen=True)
class Pace:
    """How long the steps of a workload take here."""

    step: float
    """Seconds per training step."""
    evaluation: float
    """Seconds per evaluated batch of `EVALUATION_BATCH` samples."""


def bound_seconds(
    cells: Iterable[Cell],
    paces: Mapping[Workload, Pace],
    sizes: Mapping[str, DataInfo],
    workers: int,
) -> float:
    """The most seconds that training takes, if every cell runs all its epochs. Starting processes
    and reading data are not counted.

    The sum over cells of epochs · (training batches · step + validation batches · evaluation),
    divided by the number of busy workers, and at least the time of the longest cell.

    Args:
        cells: the cells to train.
        paces: the pace of each workload, from `measure_paces`.
        sizes: data set → its description.
        workers: the number of workers.
    """
    each = [
        _bound_cell_seconds(cell, paces[Workload.from_cell(cell)], sizes[cell.data])
        for cell in cells
    ]
    return max(sum(each) / max(1, min(workers, len(each))), max(each, default=0.0))


def measure_paces(cells: Iterable[Cell], budget: float = BUDGET) -> dict[Workload, Pace]:
    """Measure the pace of each workload among the cells, on random data and one thread.

    Each workload gets an equal share of the budget, in seconds. The caller's random state and
    number of threads are unchanged afterwards.
    """
    examples = {Workload.from_cell(cell): cell for cell in cells}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            workload: _measure_pace(cell, budget / len(examples))
            for workload, cell in examples.items()
        }
    finally:
        torch.set_num_threads(threads)


def _bound_cell_seconds(cell: Cell, pace: Pace, info: DataInfo) -> float:
    """The most seconds of a cell's epochs. The last batch, which is smaller, counts as full."""
    n_train = count_training_samples(cell, info)
    n_validation = info.n_train - n_train or info.n_test
    epoch = (
        math.ceil(n_train / cell.batch_size) * pace.step
        + math.ceil(n_validation / EVALUATION_BATCH) * pace.evaluation
    )
    return cell.epochs * epoch


def _measure_pace(cell: Cell, budget: float) -> Pace:
    """Measure a cell's workload on a few batches of random samples."""
    info, model = data.describe(cell.data), make_model(cell)
    samples = draw_samples(info, max(cell.batch_size * _BATCHES, EVALUATION_BATCH))
    objective = make_random_objective(cell, info, samples, model.entry)
    trainer = Trainer.from_cell(cell, model.build_for(info), objective)
    parameters = list(trainer.model.parameters())
    batches = itertools.cycle(
        enumerate(torch.split(seeds.draw_order(0, 0, len(samples.y)), cell.batch_size))
    )

    def train_step() -> None:
        step, batch = next(batches)
        x = samples.x[batch]
        y = x if samples.y is samples.x else samples.y[batch]
        trainer.step(0, step, x, y, parameters, objective.make_totals())

    @torch.no_grad()
    def evaluate() -> None:
        x, y = samples.x[:EVALUATION_BATCH], samples.y[:EVALUATION_BATCH]
        loss = torch.zeros((), dtype=torch.float64)
        evaluate_batch(trainer.model, objective, x, y, loss, objective.make_totals())

    step = _measure_median_seconds(train_step, 0.7 * budget)
    trainer.model.eval()
    return Pace(step, _measure_median_seconds(evaluate, 0.3 * budget))


def _measure_median_seconds(action: Callable[[], object], budget: float) -> float:
    """The median time of as many calls as the budget allows, at least one. A first call, which
    allocates, is not counted.
    """
    action()
    taken: list[float] = []
    while not taken or (sum(taken) < budget and len(taken) < _MAX_STEPS):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]
