"""From cell to cell: what user code changes in a worker's process is put back, or the worker
goes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from combinations import for_each
from torch import nn
from user_code_files import write_file

from fanin import models
from fanin.cell.plan import Plan, PlannedCell
from fanin.errors import FitError
from fanin.execution.process_state import preserve_process_state
from fanin.execution.runner import run_plan
from fanin.models import Model
from fanin.store.results_store import read
from fanin.study.canonical_cell import make_cell

MINE = """
import numpy as np, torch
from torch import nn

STEPS = 0
ONE = []

def data():
    rows = np.random.RandomState(0).normal(size=(60, 6)).astype(np.float32)
    y = ((rows[:, 0] > 0) ^ (rows[:, 1] > 1)).astype(np.int64)
    return rows[:40], y[:40], rows[40:], y[40:]

class Counter(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
    def forward(self, x):
        global STEPS
        STEPS += 1
        return self.layer(x) * (1 + STEPS / 10)

def counter(input_shape, outputs):
    return Counter(input_shape[0], outputs)

def hooked(input_shape, outputs):
    nn.modules.module.register_module_forward_hook(lambda module, x, y: y * 1.1)
    return nn.Linear(input_shape[0], outputs)

def one(input_shape, outputs):
    if not ONE: ONE.append(nn.Linear(input_shape[0], outputs))
    return ONE[0]

SHARED = nn.Linear(6, 4)

def shared(input_shape, outputs):
    return nn.Sequential(SHARED, nn.Linear(4, outputs))

ACTIVATION = nn.ReLU()

def stateless(input_shape, outputs):
    return nn.Sequential(nn.Linear(6, 4), ACTIVATION, nn.Linear(4, outputs))
"""

CHANGES: dict[str, Callable[[], Any]] = {
    "mkldnn": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "mkldnn deterministic": lambda: setattr(torch.backends.mkldnn, "deterministic", True),
    "cudnn": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "threads": lambda: torch.set_num_threads(3),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "device": lambda: torch.set_default_device("meta"),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "deterministic": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "fast path": lambda: torch.backends.mha.set_fastpath_enabled(False),
    "denormal": lambda: torch.set_flush_denormal(True),
    "NumPy": lambda: np.seterr(all="raise"),
    "environment": lambda: os.environ.update(FANIN_TEST_LEFT="1"),
    "torch's generator": lambda: torch.rand(3),
    "Python's generator": lambda: random.seed(3),
    "NumPy's generator": lambda: np.random.seed(3),
}


@for_each("name", list(CHANGES))
def test_settings_of_the_process_are_put_back(name: str) -> None:
    with preserve_process_state() as outer:
        with preserve_process_state() as left:
            CHANGES[name]()
        assert left == []
    assert outer == []  # nothing was left for the outer one to put back or to tell


def test_what_cannot_be_put_back_is_told() -> None:
    with preserve_process_state() as left:
        handle = nn.modules.module.register_module_forward_hook(lambda module, x, y: y)
    handle.remove()
    assert left == ["torch.nn's global_forward_hooks"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path, f"{MINE}\n# {tmp_path}\n")
    return "mine.py"


@pytest.mark.usefixtures("preloaded_workers")
def test_a_cell_has_the_same_bits_alone_and_after_others(mine: str, tmp_path: Path) -> None:
    with preserve_process_state():  # planning runs the models here
        cells = [
            make_cell(
                {
                    "data": f"{mine}:data",
                    "model": f"{mine}:{model}",
                    "initializer": "he_normal",
                    "epochs": 2,
                    "batch_size": 16,
                    "replicate": replicate,
                }
            )
            for model in ("counter", "hooked")
            for replicate in (0, 1)
        ]
    nn.modules.module._global_forward_hooks.clear()

    def train(chosen: list[Any], name: str) -> dict[str, Any]:
        plan = Plan("test", "", "sound", tuple(PlannedCell(cell, {}) for cell in chosen))
        assert run_plan(plan, tmp_path / name, workers=1).counts == {"ok": len(chosen)}
        results = read(tmp_path / name).results
        return {cell: result.history["val_loss"] for cell, result in results.items()}

    together = train(cells, "together")
    backwards = train(cells[::-1], "backwards")
    assert together == backwards
    assert together[cells[1].id] == train([cells[1]], "alone")[cells[1].id]


@for_each("name", ["one", "shared"])
def test_a_module_that_comes_back_is_refused(mine: str, name: str) -> None:
    model = models.get(f"{mine}:{name}")
    with pytest.raises(FitError, match="returned a module, or one with parameters or buffers"):
        build_twice(model)


def build_twice(model: Model) -> list[nn.Module]:
    return [model.build((6,), 2) for _ in range(2)]


def test_a_layer_without_parameters_may_be_shared(mine: str) -> None:
    kept = build_twice(models.get(f"{mine}:stateless"))
    assert kept[0][1] is kept[1][1]
