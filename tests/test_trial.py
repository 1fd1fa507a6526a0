"""What cannot be trained is refused while the study is planned, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from combinations import for_each
from user_code_files import write_file

from fanin.cell.cell import Cell
from fanin.errors import FaninError
from fanin.study import trial
from fanin.study.canonical_cell import make_cell
from fanin.study.study import Study
from fanin.training.train import DataCache, train

MINE = """
import numpy as np, torch
from torch import nn

def data():
    rows = np.random.RandomState(0).normal(size=(60, 6)).astype(np.float32)
    y = (rows[:, 0] > 0).astype(np.int64)
    return rows[:40], y[:40], rows[40:], y[40:]

def plain(input_shape, outputs):
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, outputs))

def lazy(input_shape, outputs):
    return nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(outputs))

def frozen(input_shape, outputs):
    return plain(input_shape, outputs).requires_grad_(False)

class Partly(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.body, self.head, self.steps = nn.Linear(6, 4), nn.Linear(4, outputs), 0
        self.body.requires_grad_(False)
    def forward(self, x):
        self.steps += 1
        return self.head(self.body(x))
    def state_dict(self, *args, **kwargs):
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if "body" not in k}
    def get_extra_state(self):
        return {"steps": self.steps}
    def set_extra_state(self, state):
        self.steps = state["steps"]

def partly(input_shape, outputs):
    return Partly(outputs)

class Unseen(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.stack = nn.Parameter(torch.randn(3, 6, 4))
        self.head = nn.Linear(4, outputs)
    def forward(self, x):
        stack = self.stack.flatten(1).unfold(1, 24, 24).cumsum(0)
        return self.head((x @ stack[0].reshape(6, 4)).relu())

def unseen(input_shape, outputs):
    return Unseen(outputs)

ONE = plain((6,), 2)

def one(input_shape, outputs):
    return ONE

class Inplace(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(6, outputs)
    def forward(self, x):
        y = torch.sigmoid(self.layer(x))
        y.mul_(2)
        return y

def inplace(input_shape, outputs):
    return Inplace(outputs)

def sparse(parameters, lr): return torch.optim.SparseAdam(list(parameters), lr)

def muon(parameters, lr): return torch.optim.Muon(list(parameters), lr)

class Picky(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError("this optimizer needs a closure")

def picky(parameters, lr): return Picky(parameters, lr)

def flat():
    return lambda outputs, targets: outputs.sum()
"""

STUDY = """
replicates = 1
[base]
data = "mine.py:data"
epochs = 2
batch_size = 16
[axes]
model = ["{model}"]
initializer = ["{initializer}"]
optimizer = ["{optimizer}"]
metrics = [{metrics}]
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path, f"{MINE}\n# {tmp_path}\n")


def plan(
    model: str = "mine.py:plain",
    optimizer: str = "sgd",
    initializer: str = "he_normal",
    metrics: str = "[]",
    data: str = "mine.py:data",
) -> Cell:
    """The one cell of a study."""
    text = STUDY.replace("mine.py:data", data).format(
        model=model, optimizer=optimizer, initializer=initializer, metrics=metrics
    )
    return Study.from_toml(text, "mine").plan().cells[0].cell


@for_each(
    ("condition", "said"),
    [
        ({"model": "mine.py:frozen"}, "mine, line 8 (model = mine.py:frozen):|requires a gradient"),
        ({"model": "mine.py:one"}, "line 8 (model = mine.py:one)|returned before"),
        (
            {"model": "mine.py:inplace"},
            "mine, line 8 (model = mine.py:inplace):|modified by an inplace operation",
        ),
        ({"optimizer": "mine.py:sparse"}, "line 10 (optimizer|SparseAdam does not support dense"),
        ({"optimizer": "mine.py:muon"}, "line 10 (optimizer|only supports 2D parameters"),
        ({"optimizer": "mine.py:picky"}, "line 10 (optimizer|needs a closure (mine.py, line"),
        ({"metrics": '["mine.py:flat"]'}, "line 11 (metrics|a tensor of shape () for a batch"),
        ({"initializer": "delta_orthogonal"}, "line 9 (initializer = delta_orthogonal)|"),
        (
            {
                "data": "digits",
                "model": "mlp(widths=[8, 4], activation=relu)",
                "initializer": "delta_orthogonal",
            },
            "line 9 (initializer = delta_orthogonal)|needs at least as many outputs",
        ),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_what_cannot_be_trained_is_refused_with_its_line(
    condition: dict[str, str], said: str
) -> None:
    with pytest.raises(FaninError) as caught:
        plan(**condition)
    for part in said.split("|"):
        assert part in str(caught.value)


@for_each(
    "condition",
    [
        {"model": "mine.py:lazy"},
        {"model": "mine.py:partly"},
        {"optimizer": "torch.optim:LBFGS"},
        {"optimizer": "torch.optim:NAdam"},
    ],
    ids=lambda condition: "-".join(condition.values()),
)
def test_what_the_trial_lets_pass_trains_to_its_end(condition: dict[str, str]) -> None:
    result = train(plan(**condition), cache=DataCache(), environment={})
    assert result.outcome == "ok"
    assert result.history["loss"][-1] < result.history["loss"][0]


def test_a_condition_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[Cell]()
    monkeypatch.setattr(trial, "_try_step", tried.append)
    for _ in range(2):
        plan()
        plan(model="mine.py:lazy")
    assert [cell.model for cell in tried] == ["mine.py:plain", "mine.py:lazy"]


def test_a_model_of_which_most_stays_as_it_is_is_named_before_it_trains() -> None:
    text = STUDY.format(
        model="mine.py:unseen", optimizer="sgd", initializer="he_normal", metrics="[]"
    )
    (note,) = (note for note in Study.from_toml(text, "mine").plan().notes if "unseen" in note)
    assert note.startswith("mine.py:unseen, he_normal: 87.8 % of the numbers of the model stay")
    assert "stack 3×6×4" in note
    assert "layouts={pattern: fanin.Layout(" in note


@for_each(
    ("initializer", "model", "obstacle"),
    [
        ("admin", "transformer(depth=2, norm=post, skip_weight=learned, width=8)", ""),
        ("admin", "transformer(depth=2, norm=post, width=8)", "a learnable weight"),
        ("deep_norm", "transformer(depth=2, norm=pre, width=8)", "normalization after the sum"),
        ("lsuv", "mlp(widths=[8], activation=relu)", ""),
    ],
)
def test_methods_that_look_at_structure_or_data_are_tried_on_random_data(
    initializer: str, model: str, obstacle: str
) -> None:
    data = "digits" if model.startswith("mlp") else "rows(of=digits)"
    cell = make_cell({"data": data, "model": model, "initializer": initializer})
    if not obstacle:
        assert trial.try_training(cell) == ""
        return
    with pytest.raises(FaninError, match=obstacle) as caught:
        trial.try_training(cell)
    assert caught.value.about == ("initializer", "model")
