"""What the copies cost that a user's models and metrics are lent: python benchmarks/lending.py

An epoch (training and validation) with copies, as a ratio to one without, alternating in one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from fanin.cell.protocol import REGISTRY as PROTOCOLS
from fanin.execution.process_settings import get_cpu_name
from fanin.study.canonical_cell import make_cell
from fanin.training.cell_model import make_model
from fanin.training.objective import Objective, make_objective
from fanin.training.steps import Trainer, evaluate
from fanin.training.train import DataCache

MINE = """
from torch import nn

def mlp(input_shape, outputs):
    layers = nn.Flatten(), nn.Linear(input_shape[0], 64), nn.ReLU(), nn.Linear(64, outputs)
    return nn.Sequential(*layers)

def cnn(input_shape, outputs):
    layers = nn.Conv2d(input_shape[0], 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, outputs)
    return nn.Sequential(*layers)

def spread():
    return lambda outputs, targets: outputs.flatten() - targets.flatten()
"""

WORKLOADS = (
    ("rows of 8 numbers", "california-housing", ":mlp", ""),
    ("rows of 8 numbers, own metric too", "california-housing", ":mlp", ":spread"),
    ("images of 8 × 8", "digits", ":cnn", ""),
    ("autoencoder of rows of 10 numbers", "autoencoding(of=diabetes)", ":mlp", ""),
)


def main() -> None:
    """Print one row of a table for each workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{get_cpu_name()}, torch {torch.__version__}, n = {rounds}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mine.py"
        file.write_text(MINE)
        for name, data, model, metric in WORKLOADS:
            ratios, seconds = measure(
                data, f"{file}{model}", [f"{file}{metric}"] if metric else [], rounds
            )
            low, median, high = statistics.quantiles(ratios, n=4)
            print(f"| {name} | {seconds * 1000:.0f} | {median:.2f} ({low:.2f}–{high:.2f}) |")


def measure(data: str, model: str, metrics: list[str], rounds: int) -> tuple[list[float], float]:
    """The ratio of each round, and the median seconds of an epoch without copies."""
    cell = make_cell(
        {
            "data": data,
            "model": model,
            "initializer": "he_normal",
            "metrics": metrics,
            "batch_size": 64,
        }
    )
    dataset, prepared = DataCache().prepare(cell, PROTOCOLS.get(cell.protocol))
    benchmark_model = make_model(cell)
    lending = make_objective(
        dataset,
        prepared,
        model=benchmark_model.entry,
        further_metrics=cell.metrics,
        smoothing=0.0,
    )
    trainers = {
        copies: Trainer.from_cell(cell, benchmark_model.build_for(dataset.info), objective)
        for copies, objective in ((True, lending), (False, remove_copies(lending)))
    }
    ratios, base = [], []
    for epoch in range(rounds + 1):
        seconds = {}
        for copies in (True, False) if epoch % 2 else (False, True):
            trainer = trainers[copies]
            started = time.perf_counter()
            trainer.train_epoch(epoch, prepared.train)
            evaluate(trainer.model, trainer.objective, prepared.validation)
            seconds[copies] = time.perf_counter() - started
        ratios.append(seconds[True] / seconds[False])
        base.append(seconds[False])
    return ratios[1:], statistics.median(base[1:])  # the first round warms up


def remove_copies(objective: Objective) -> Objective:
    """The objective as it would be if user code were given the data themselves."""
    metrics = []
    for metric in objective.metrics:
        cells = getattr(metric.score, "__closure__", None) or ()
        inner = cells[0].cell_contents if metric.user_spec else metric.score
        metrics.append(replace(metric, score=inner))
    return replace(objective, lends_copies=False, metrics=tuple(metrics))


if __name__ == "__main__":
    main()
