"""What user code is given: it may change all of it in place, and nobody else sees that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from combinations import for_each
from model_cases import build, case_of, inputs, targets
from user_code_files import make_small_cell, write_file

from fanin import data, models, registry, seeds, user_code
from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.models import ModelEntry
from fanin.training import metrics
from fanin.training.train import DataCache, train

MINE = """
import numpy as np, torch
from torch import nn

ROWS = np.random.RandomState(0).normal(size=(60, 6)).astype(np.float32)

def data():
    y = (ROWS[:, 0] > 0).astype(np.int64)
    return ROWS[:40], y[:40], ROWS[40:], y[40:]

class Net(nn.Module):
    def __init__(self, inputs, outputs, change):
        super().__init__()
        self.layer, self.change = nn.Linear(inputs, outputs), change
    def forward(self, x):
        return self.layer(self.change(x).flatten(1))

def tidy(input_shape, outputs):
    return Net(input_shape[0], outputs, lambda x: x * 0.5)

def untidy(input_shape, outputs):
    return Net(input_shape[0], outputs, lambda x: x.mul_(0.5))

def blank(x):
    x[:, ::2] = 0
    return x

def tidy_blank(input_shape, outputs):
    return Net(input_shape[0], outputs, lambda x: blank(x.clone()))

def untidy_blank(input_shape, outputs):
    return Net(input_shape[0], outputs, blank)

def greedy():
    def share(outputs, targets):
        targets[targets == 1] = 0
        outputs.zero_()
        return (targets == 0).double()
    return share

def honest():
    def sign(outputs, targets):
        return (outputs[:, 0] > 0).double()
    return sign
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path, MINE)
    return "mine.py"


def run(cell: Cell, cache: DataCache | None = None) -> Result:
    return train(cell, cache=cache or DataCache(), environment={})


def read(result: Result) -> tuple[Any, ...]:
    history = {name: values for name, values in result.history.items() if name != "seconds"}
    return history, result.metrics


@for_each(
    ("data", "code", "twin"),
    [
        (":data", {"model": ":untidy"}, {"model": ":tidy"}),
        ("autoencoding(of=diabetes)", {"model": ":untidy_blank"}, {"model": ":tidy_blank"}),
        (":data", {"metrics": [":greedy", ":honest"]}, {"metrics": [":honest"]}),
    ],
    ids=["model", "autoencoder", "metric"],
)
def test_code_that_changes_what_it_is_given_changes_nothing_else(
    mine: str, data: str, code: dict[str, Any], twin: dict[str, Any]
) -> None:
    data = data.replace(":data", f"{mine}:data")
    code, twin = (name_references(mine, fields) for fields in (code, twin))
    cache = DataCache()
    changing = run(make_small_cell(mine, data=data, **code), cache)
    assert read(run(make_small_cell(mine, data=data), cache)) == read(
        run(make_small_cell(mine, data=data))
    )
    history, numbers = read(run(make_small_cell(mine, data=data, **twin)))
    found_history, found_numbers = read(changing)
    assert found_history | history == found_history
    assert found_numbers | numbers == found_numbers


def name_references(mine: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: f"{mine}{value}" if isinstance(value, str) else [f"{mine}{one}" for one in value]
        for name, value in fields.items()
    }


def test_a_data_set_is_apart_from_the_arrays_that_its_code_keeps(mine: str) -> None:
    loaded = data.load(f"{mine}:data")
    kept = user_code.load(f"{mine}:data").function.__globals__["ROWS"]
    before = loaded.x_train.clone()
    kept[:] = 0
    assert loaded.x_train.equal(before)


@for_each("entry", list(models.REGISTRY), ids=lambda entry: entry.name)
def test_built_in_models_and_metrics_change_nothing_that_they_are_given(entry: ModelEntry) -> None:
    """Which is why they are lent no copies."""
    assert registry.is_builtin(entry.build)
    case = case_of(entry)
    module, x = build(entry, case), inputs(case)
    y, before = targets(case, x).clone(), x.clone()
    for training in (True, False):
        with seeds.preserve_torch_state(0):
            outputs = module.train(training)(x)
    assert x.equal(before)
    measured = [metric for metric in metrics.REGISTRY if case.task in metric.tasks and metric.score]
    kept = (outputs.detach().clone(), y.clone())
    for metric in measured:
        metric.score(outputs.detach(), y)
    assert outputs.equal(kept[0])
    assert y.equal(kept[1])
