"""Synthetic plans and results for the tests of analysis and report: realistic curves, no
training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fanin import seeds
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Outcome, Result

INITIALIZERS = (
    "zero",
    "random_normal",
    "xavier_uniform",
    "he_normal",
    "lecun_normal",
    "orthogonal",
)
CLASSIFICATION = tuple(
    (model, data)
    for model in ("mlp", "cnn")
    for data in ("mnist", "fashion-mnist", "cifar10", "cifar100")
)
REGRESSION = (("regression", "california-housing"),)
# Best loss and accuracy of a data set's healthy runs.
_LEVELS = {
    "mnist": (0.07, 0.979, 10),
    "fashion-mnist": (0.32, 0.889, 10),
    "cifar10": (1.4, 0.51, 10),
    "cifar100": (3.3, 0.22, 100),
}


def plan_of(
    pairs: Sequence[tuple[str, str]] = (*CLASSIFICATION, *REGRESSION),
    initializers: Sequence[str] = INITIALIZERS,
    replicates: int = 1,
    **texts: object,
) -> Plan:
    """A plan of every pair with every initializer, replicate by replicate; `random_normal` is a
    label.
    """
    cells = tuple(
        PlannedCell(
            Cell(
                data=data,
                model=model,
                initializer=_spec(name),
                replicate=replicate,
                protocol="case-study",
            ),
            {"model": model, "data": data, "initializer": name},
        )
        for replicate in range(replicates)
        for model, data in pairs
        for name in initializers
    )
    plan = Plan(
        "case-study",
        "Does the initializer matter?",
        "case-study",
        cells,
        ("the learning rate is fixed, not tuned",),
    )
    return replace(plan, **texts)  # type: ignore[arg-type]


def results_of(plan: Plan) -> dict[str, Result]:
    """An ok result for every cell of a plan."""
    return {planned.cell.id: result_of(planned.cell) for planned in plan.cells}


def result_of(cell: Cell, outcome: Outcome = "ok", **fields: object) -> Result:
    """A result with curves that look like those of the case study; a diverged one stops in its
    fourth epoch.
    """
    history = _regression(cell) if cell.model == "regression" else _classification(cell)
    if outcome == "diverged":
        history = {name: [*column[:3], math.nan] for name, column in history.items()}
    if outcome in ("failed", "killed"):
        history = {}
    result = Result(
        cell=cell,
        outcome=outcome,
        message="" if outcome == "ok" else f"the run {outcome}",
        history=history,
        metrics=_metrics(history)
        if outcome == "ok"
        else {"epochs": 4.0}
        if outcome == "diverged"
        else {},
        timings={"total": 12.5},
        environment={
            "device": "a CPU",
            "engine": 1,
            "torch": "2.13.0",
            "threads": 1,
            "matmul": "default",
            "dtype": "float32",
        },
        data={"canonical": True, "fingerprint": "f" * 16},
    )
    return replace(result, **fields)  # type: ignore[arg-type]


def of_outcomes(plan: Plan, *outcomes: Outcome | None) -> dict[str, Result]:
    """Results whose outcomes follow one another in turn; None leaves a cell without a result."""
    turns = (outcomes[i % len(outcomes)] for i in range(len(plan.cells)))
    pairs = zip(plan.cells, turns, strict=False)
    return {
        planned.cell.id: result_of(planned.cell, outcome)
        for planned, outcome in pairs
        if outcome is not None
    }


def _spec(name: str) -> str:
    return {"random_normal": "normal(std=0.05)", "he_normal": "he_normal(truncated=true)"}.get(
        name, name
    )


def _classification(cell: Cell) -> dict[str, list[float]]:
    noise = seeds.make_numpy_generator(
        cell.replicate, "curves", cell.model, cell.data, cell.initializer
    )
    loss, accuracy, classes = _LEVELS.get(cell.data, _LEVELS["mnist"])
    dead = cell.initializer == "zero"
    n = 6 if dead else int(noise.integers(12, 24))
    columns: dict[str, list[float]] = {
        name: [] for name in ("loss", "val_loss", "accuracy", "val_accuracy", "seconds")
    }
    shift = float(noise.normal(0, 0.003))
    for epoch in range(1, n + 1):
        left = math.exp(-epoch / 4)
        start = math.log(classes)
        columns["loss"].append(
            start if dead else loss * math.exp(-epoch / 25) * 0.8 + 0.6 * start * left
        )
        columns["val_loss"].append(
            start
            if dead
            else loss * (1 + epoch / 200) + 0.4 * start * left + float(noise.normal(0, 0.01 * loss))
        )
        columns["accuracy"].append(
            1 / classes if dead else min(accuracy + epoch / 500, 1.0) * (1 - 0.5 * left)
        )
        columns["val_accuracy"].append(
            1 / classes
            if dead
            else (accuracy + shift) * (1 - 0.3 * left) + float(noise.normal(0, 0.002))
        )
        columns["seconds"].append(1.5)
    return columns


def _regression(cell: Cell) -> dict[str, list[float]]:
    noise = seeds.make_numpy_generator(
        cell.replicate, "curves", cell.model, cell.data, cell.initializer
    )
    worst, best = (
        2.07e5,
        (2.06e5 if cell.initializer == "zero" else 5.05e4 + float(noise.normal(0, 400))),
    )
    mae = [best + (worst - best) * math.exp(-epoch / 8) for epoch in range(50)]
    val = [value * (1 + float(noise.normal(0, 0.005))) for value in mae]
    return {
        "loss": [1.9 * m * m for m in mae],
        "val_loss": [1.9 * m * m for m in val],
        "mae": mae,
        "val_mae": val,
        "seconds": [0.4] * 50,
    }


def _metrics(history: dict[str, list[float]]) -> dict[str, float]:
    metric = "mae" if "mae" in history else "accuracy"
    best = min(range(len(history["val_loss"])), key=history["val_loss"].__getitem__)
    return {
        "epochs": float(len(history["loss"])),
        "best_epoch": float(best + 1),
        "val_loss": history["val_loss"][best],
        f"val_{metric}": (min if metric == "mae" else max)(history[f"val_{metric}"]),
        "test_loss": history["val_loss"][best],
        f"test_{metric}": history[f"val_{metric}"][best],
    }
