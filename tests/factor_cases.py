"""Synthetic studies of any factors for the tests of analysis and report: made-up but plausible
scores, no training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fanin import seeds, specs
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result

INITIALIZERS = ("xavier_uniform", "he_normal", "lecun_normal", "orthogonal")
Axes = Mapping[str, Sequence[Any]]

KINDS: dict[str, tuple[Mapping[str, Any], Axes]] = {
    "depth": (
        {"model": "mlp(widths=[64])", "data": "mnist"},
        {
            "model.depth": (2, 4, 8, 16, 32, 64),
            "activation": ("relu", "tanh"),
            "initializer": (*INITIALIZERS, "delta"),
        },
    ),
    "phase-diagram": (
        {"model": "mlp(widths=[64])", "data": "mnist", "initializer": "lecun_normal"},
        {
            "initializer.gain": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5),
            "model.depth": (4, 16, 64, 128),
            "activation": ("relu", "tanh"),
        },
    ),
    "activations": (
        {"model": "mlp", "data": "fashion-mnist"},
        {"activation": ("relu", "tanh", "sigmoid", "selu", "gelu"), "initializer": INITIALIZERS},
    ),
    "normalization": (
        {"model": "plain_cnn", "data": "cifar10"},
        {"normalization": ("none", "batch", "layer"), "initializer": ("zero", *INITIALIZERS)},
    ),
    "optimizers": (
        {"model": "mlp", "data": "mnist"},
        {"optimizer": ("sgd", "sgd(momentum=0.9)", "adam", "rmsprop"), "initializer": INITIALIZERS},
    ),
    "learning-rate": (
        {"model": "mlp", "data": "mnist"},
        {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1), "initializer": INITIALIZERS},
    ),
    "recurrent": (
        {},
        {
            "model": ("rnn", "lstm", "gru"),
            "data": ("adding", "copying", "text"),
            "initializer": INITIALIZERS[1:],
        },
    ),
    "combined": (
        {"model": "plain_cnn", "data": "cifar10"},
        {
            "optimizer": ("sgd", "adam"),
            "normalization": ("none", "batch", "layer"),
            "initializer": INITIALIZERS,
        },
    ),
}
"""Kind of study → what its cells share, and its axes."""


def study_plan(
    base: Mapping[str, Any], axes: Axes, replicates: int = 10, name: str = "study"
) -> Plan:
    """A plan of all combinations; keys may be options of a field such as ``model.depth``."""
    cells = []
    for replicate in range(replicates):
        for values in itertools.product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            cells.append(
                PlannedCell(
                    _cell({**base, **chosen}, replicate),
                    {key: str(value) for key, value in chosen.items()},
                )
            )
    return Plan(name, "What changes?", "sound", tuple(cells))


def kind_of_study(kind: str, replicates: int = 10) -> tuple[Plan, dict[str, Result]]:
    """A plan of one of the `KINDS`, and results of which some diverged."""
    plan = study_plan(*KINDS[kind], replicates, kind)
    return plan, {planned.cell.id: scored(planned.cell) for planned in plan.cells}


def scored(cell: Cell, **fields: Any) -> Result:
    """A result whose score falls with bad combinations, and which may have diverged."""
    noise = seeds.make_numpy_generator(cell.replicate, "scores", *map(str, cell.to_json().values()))
    trouble = _trouble(cell)
    if trouble > 1 and noise.uniform() < 0.25 * trouble:
        epochs = int(noise.integers(2, 6))
        history = {name: [2.3] * (epochs - 1) + [math.nan] for name in ("loss", "val_loss")}
        return _result(cell, "diverged", {"epochs": float(epochs)}, history, fields)
    error = {"adding": True}.get(cell.data, False)
    score = (
        0.1
        + 0.87 / (1 + math.exp(6 * (trouble - 0.7)))
        + float(noise.normal(0, 0.004 + 0.02 * min(trouble, 1)))
    )
    name, value = (
        ("squared_error", 0.2 * (1.02 - score))
        if error
        else ("accuracy", min(max(score, 0.09), 0.995))
    )
    if cell.data == "text":
        name, value = "bits_per_character", 4.5 - 2.4 * score
    curve = [value + (0.3 - 0.3 * value) * math.exp(-epoch / 3) for epoch in range(8)]
    history = {
        "loss": [2.3 * math.exp(-i / 5) for i in range(8)],
        "val_loss": [2.3 * math.exp(-i / 6) for i in range(8)],
    }
    history |= {name: curve, f"val_{name}": curve}
    loss = 2.5 * (1.03 - score)
    metrics = {"epochs": 8.0, "best_epoch": 7.0, "val_loss": loss, f"val_{name}": value}
    return _result(
        cell, "ok", metrics | {"test_loss": loss * 1.02, f"test_{name}": value}, history, fields
    )


def _trouble(cell: Cell) -> float:
    """From 0 (trains well) to 3 (diverges)."""
    options = specs.parse(cell.model)[1]
    depth, gain = (
        float(str(options.get("depth", 3))),
        float(str(specs.parse(cell.initializer)[1].get("gain", 1.0))),
    )
    best = math.sqrt(2) if cell.activation == "relu" else 1.1
    found = 0.02 + abs(math.log(gain / best)) * depth / 40 * (2.5 if gain > best else 1.2)
    found += {"zero": 1.2, "delta": 0.1, "orthogonal": 0.0}.get(
        cell.initializer, 0.05
    ) + depth * 0.004
    found += {"sigmoid": 0.4, "tanh": 0.1, None: 0.05}.get(str(cell.activation), 0.05)
    found += {"none": 0.35}.get(str(cell.normalization), 0.0)
    found += {"sgd": 0.3, "sgd(momentum=0.9)": 0.15}.get(cell.optimizer, 0.0) + {"rnn": 0.4}.get(
        cell.model, 0.0
    )
    found += 0.12 * math.log10(cell.learning_rate / 2e-3) ** 2
    return found + (1.2 if cell.learning_rate >= 0.1 else 0.0)


def _result(
    cell: Cell, outcome: Any, metrics: dict[str, float], history: Any, fields: dict[str, Any]
) -> Result:
    environment = {
        "device": "a CPU",
        "engine": 1,
        "torch": "2.13.0",
        "threads": 1,
        "matmul": "default",
        "dtype": "float32",
    }
    known: dict[str, Any] = {
        "cell": cell,
        "outcome": outcome,
        "metrics": metrics,
        "history": history,
        "timings": {"total": 3.0},
    }
    return Result(
        **(
            known
            | {"environment": environment, "data": {"canonical": True, "fingerprint": "f" * 16}}
            | fields
        )
    )


def _cell(values: Mapping[str, Any], replicate: int) -> Cell:
    fields = {key: value for key, value in values.items() if "." not in key}
    for key in values.keys() - fields.keys():
        head, _, option = key.partition(".")
        name, options = specs.parse(fields[head])
        fields[head] = specs.render(name, dict(sorted({**options, option: values[key]}.items())))
    return Cell(**{"initializer": "he_normal", **fields}, replicate=replicate)
