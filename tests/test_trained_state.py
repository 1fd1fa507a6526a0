"""What user code remembers outside of ``state_dict``: put back with the best weights, and in no
checkpoint that lacks it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from combinations import for_each
from torch import nn
from user_code_files import make_small_cell, write_file

from fanin import seeds, user_code
from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.errors import FitError
from fanin.training.train import DataCache, TrainingInterrupted, train
from fanin.training.trained_state import TrainedState

MINE = """
import random
import numpy as np, torch
from torch import nn

STEPS = 0

def data():
    rows = np.random.RandomState(0).normal(size=(60, 6)).astype(np.float32)
    y = ((rows[:, 0] > 0) ^ (rows[:, 1] > 1)).astype(np.int64)
    return rows[:40], y[:40], rows[40:], y[40:]

class Net(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        self.register_buffer("mean", torch.zeros(inputs), persistent=False)
        self.setup()
    def setup(self): pass
    def forward(self, x):
        return self.layer(self.change(x.flatten(1)))

class Counter(Net):
    def setup(self): self.steps = 0
    def change(self, x):
        self.steps += self.training
        return x * (1 + self.steps / 10)

class Lists(Net):
    def setup(self): self.seen = {"rows": []}
    def change(self, x):
        if self.training: self.seen["rows"].append(len(x))
        return x * (1 + len(self.seen["rows"]) / 10)

class Buffer(Net):
    def change(self, x):
        if self.training:
            with torch.no_grad(): self.mean += 0.1
        return x - self.mean

class Replaced(Net):
    def change(self, x):
        if self.training: self.mean = self.mean + 0.1
        return x - self.mean

class Global(Net):
    def change(self, x):
        global STEPS
        STEPS += self.training
        return x * (1 + STEPS / 10)

class OfClass(Net):
    steps = 0
    def change(self, x):
        OfClass.steps += self.training
        return x * (1 + OfClass.steps / 10)

class Closure(Net):
    def setup(self):
        steps = 0
        def count(training):
            nonlocal steps
            steps += training
            return steps
        self.count = count
    def change(self, x): return x * (1 + self.count(self.training) / 10)

class Extra(Counter):
    def get_extra_state(self): return {"steps": self.steps}
    def set_extra_state(self, state): self.steps = state["steps"]

class Frozen(Net):
    def change(self, x): return x
    def state_dict(self, *args, **kwargs):
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if "weight" not in k}

class Noisy(Net):
    def change(self, x): return x + random.random() + np.random.rand()

MODELS = dict(counter=Counter, lists=Lists, buffer=Buffer, replaced=Replaced, of_file=Global,
              of_class=OfClass, closure=Closure, extra=Extra, frozen=Frozen, noisy=Noisy)

def make(input_shape, outputs, *, kind: str = "counter"):
    return MODELS[kind](input_shape[0], outputs)

class Momentous(torch.optim.SGD):
    steps = 1
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] *= 0.9
        super().step(closure)

class Attribute(torch.optim.SGD):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.steps = 0
    def step(self, closure=None):
        self.steps += 1
        if self.steps % 2: super().step(closure)

def falling(parameters, lr): return Momentous(parameters, lr)
def skipping(parameters, lr): return Attribute(parameters, lr)
"""

SAVED = ("buffer", "replaced", "frozen", "noisy")
SEEN = ("counter", "lists", "of_file", "of_class", "closure", "extra")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    # a file of its own for each test: what is remembered in variables stays in the process
    write_file(tmp_path, f"{MINE}\n# {tmp_path}\n")
    return "mine.py"


def make(mine: str, **changes: Any) -> Cell:
    return make_small_cell(mine, **{"epochs": 4, "batch_size": 16, **changes})


def run(cell: Cell, **options: Any) -> Result:
    reset(cell)
    return train(cell, cache=DataCache(), environment={}, **options)


def reset(cell: Cell) -> None:
    """As in a new process."""
    for reference, _ in cell.sources:
        variables = user_code.load(reference).function.__globals__
        if "OfClass" in variables:
            variables["STEPS"] = variables["OfClass"].steps = 0


def read(result: Result) -> tuple[Any, ...]:
    history = {name: values for name, values in result.history.items() if name != "seconds"}
    return history, result.metrics


@for_each("kind", [*SAVED, *SEEN])
def test_a_model_resumes_to_the_same_bits_or_writes_no_checkpoint(mine: str, kind: str) -> None:
    cell, folder = make(mine, model=f"{mine}:make(kind={kind})"), Path(kind)
    whole = run(cell)
    with pytest.raises(TrainingInterrupted):
        run(cell, checkpoints=folder, checkpoint_interval=0, stop=lambda: True)
    assert bool(list(folder.glob("*"))) == (kind in SAVED)
    assert read(run(cell, checkpoints=folder)) == read(whole)


@for_each("name", ["falling", "skipping"])
def test_an_optimizer_that_counts_elsewhere_writes_no_checkpoint(mine: str, name: str) -> None:
    cell, folder = make(mine, optimizer=f"{mine}:{name}"), Path(name)
    with pytest.raises(TrainingInterrupted):
        run(cell, checkpoints=folder, checkpoint_interval=0, stop=lambda: True)
    assert not list(folder.glob("*"))
    assert read(run(cell, checkpoints=folder)) == read(run(cell))


@for_each("kind", ["buffer", "replaced", *SEEN])
def test_the_best_weights_come_back_with_all_that_the_model_was_then(mine: str, kind: str) -> None:
    """A training that ends at the best epoch of a longer one has the same test loss."""
    cell = make(mine, model=f"{mine}:make(kind={kind})", learning_rate=3.0)
    long = run(cell)
    best = int(long.metrics["best_epoch"])
    assert best < cell.epochs
    short = run(make(mine, model=cell.model, learning_rate=3.0, epochs=best))
    assert short.metrics["test_loss"] == long.metrics["test_loss"]


def test_what_cannot_be_copied_is_left_as_it_is() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Linear(2, 2)
    model.generator = (number for number in range(3))  # type: ignore[assignment]
    model.layers = [model]  # type: ignore[assignment]
    model.seen = torch.zeros(2)  # type: ignore[assignment]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    state = TrainedState(model, optimizer, is_builtin=False)
    memory = state.copy_memory()
    model.seen += 1
    model.added = 3  # type: ignore[assignment]
    state.restore_memory(memory)
    assert vars(model)["seen"].sum() == 0
    assert vars(model)["layers"] == [model]
    assert "added" not in vars(model)
    assert ".generator" in state.find_unsaved()


def test_a_buffer_that_cannot_be_written_or_has_another_shape_is_replaced() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Linear(2, 2)
    model.register_buffer("expanded", torch.zeros(1).expand(3))
    model.register_buffer("longer", torch.zeros(2))
    state = TrainedState(model, torch.optim.SGD(model.parameters(), 0.1), is_builtin=False)
    kept = {name: tensor.clone() for name, tensor in state.read_tensors().items()}
    model.expanded, model.longer = torch.ones(1).expand(3), torch.ones(5)
    state.write_tensors(kept)
    assert all(now.equal(kept[name]) for name, now in state.read_tensors().items())
    model.weight = nn.Parameter(torch.zeros(3, 2))
    with pytest.raises(FitError, match="another shape or dtype"):
        state.write_tensors(kept)
