"""A user's loss in fanin's own loop, and models that return several outputs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.errors import FaninError
from fanin.study.canonical_cell import make_cell
from fanin.study.study import Study
from fanin.training import user_loss
from fanin.training.train import DataCache, TrainingInterrupted, train

CODE = """
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def data(*, n=80, rare=8, shift=1.0):
    random = np.random.default_rng(0)
    y = (np.arange(n) % (n // rare) == 0).astype(int)
    x = (random.standard_normal((n, 5)) + shift * y[:, None]).astype(np.float32)
    return x, y, x[::2], y[::2]


def numbers(*, n=80):
    x = np.random.default_rng(0).standard_normal((n, 5)).astype(np.float32)
    y = (1000 * x.sum(1)).astype(np.float32)
    return x, y, x[::2], y[::2]


def plain():
    return F.cross_entropy


def weighted(*, weights=(1.0, 1.0)):
    weight = torch.tensor(weights)
    return lambda outputs, targets: F.cross_entropy(outputs, targets, weight=weight)


def balanced(*, outputs, class_counts):
    weight = sum(class_counts) / (outputs * torch.tensor(class_counts))
    return lambda found, targets: F.cross_entropy(found, targets, weight=weight)


def absolute():
    return lambda outputs, targets: (outputs.squeeze(1) - targets).abs().mean()


class TwoHeads(nn.Module):
    def __init__(self, features, outputs, form):
        super().__init__()
        self.body, self.form = nn.Linear(features, 8), form
        self.main, self.second = nn.Linear(8, outputs), nn.Linear(8, features)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        main, second = self.main(hidden), self.second(hidden)
        if self.form == "dict":
            return {"rebuilt": second, "logits": main, "input": x}
        return (main, second) if self.form == "tuple" else {"first": main, "second": second}


def heads(input_shape, outputs, *, form="dict"):
    return TwoHeads(input_shape[0], outputs, form)


def joint(*, share=0.5):
    def loss(outputs, targets):
        rebuilt = F.mse_loss(outputs["rebuilt"], outputs["input"])
        return F.cross_entropy(outputs["logits"], targets) + share * rebuilt
    return loss


def per_sample():
    return lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none")


def word():
    return lambda outputs, targets: "low"


def nothing():
    return 3


def writes():
    def loss(outputs, targets):
        value = F.cross_entropy(outputs, targets.clone())
        targets.zero_()
        return value
    return loss


def counts():
    def loss(outputs, targets):
        loss.calls += 1
        return F.cross_entropy(outputs, targets) / loss.calls
    loss.calls = 1
    return loss


def headless(input_shape, outputs):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(input_shape[0], outputs)
        def forward(self, x):
            self.layer(x)
            return {"text": "none"}
    return Model()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cell(**changes: Any) -> Cell:
    fields = {
        "data": "mine.py:data",
        "model": "mlp(widths=[8], activation=relu)",
        "initializer": "he_normal",
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "epochs": 3,
        "batch_size": 16,
    }
    return make_cell({**fields, **changes})


def run(chosen: Cell, **options: Any) -> Result:
    return train(chosen, cache=DataCache(), environment={}, **options)


def drop_seconds(result: Result) -> dict[str, list[float]]:
    return {name: values for name, values in result.history.items() if name != "seconds"}


def test_the_tasks_loss_written_by_a_user_trains_bit_for_bit_alike() -> None:
    assert drop_seconds(run(cell(loss="mine.py:plain"))) == drop_seconds(run(cell()))


def test_class_weights_change_what_is_learnt() -> None:
    def recall(**changes: Any) -> float:
        data = "mine.py:data(n=600, rare=30, shift=0.7)"
        chosen = cell(data=data, epochs=10, metrics=["balanced_accuracy"], **changes)
        return run(chosen).metrics["test_balanced_accuracy"]

    plain = recall()  # nearly all are taken for the common class
    assert plain < 0.65
    assert recall(loss="mine.py:weighted(weights=[1.0, 19.0])") > plain + 0.1
    assert recall(loss="mine.py:balanced") > plain + 0.1


def test_a_loss_receives_the_samples_of_each_class_of_the_training_subset() -> None:
    built = user_loss.REGISTRY.make("mine.py:balanced").build(2, (30, 10))
    outputs, targets = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    expected = F.cross_entropy(outputs, targets, weight=torch.tensor([40 / 60, 40 / 20]))
    assert float(built(outputs, targets)) == pytest.approx(float(expected))


def test_metrics_that_follow_from_the_tasks_loss_stay_those_of_the_task() -> None:
    fields = {"metrics": ["perplexity"], "learning_rate": 1e-30, "epochs": 1}
    weighted = run(cell(loss="mine.py:weighted(weights=[1.0, 5.0])", **fields))
    plain = run(cell(**fields))
    assert weighted.metrics["test_loss"] != plain.metrics["test_loss"]
    for name in ("test_perplexity", "val_perplexity", "test_accuracy"):
        assert weighted.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-5)


def test_a_loss_of_numbers_stays_in_its_own_units_and_errors_in_the_targets() -> None:
    result = run(cell(data="mine.py:numbers", loss="mine.py:absolute", epochs=1))
    # The target is standardised: its deviation is about 2,200, so that of the loss is about 1.
    assert result.metrics["test_loss"] < 10
    assert result.metrics["test_mae"] > 100


@pytest.mark.parametrize("form", ["dict", "tuple", "first"])
def test_a_model_may_return_several_outputs_the_main_one_is_measured(form: str) -> None:
    result = run(cell(model=f"mine.py:heads(form={form})", epochs=10, learning_rate=0.5))
    assert result.outcome == "ok"
    assert result.metrics["test_accuracy"] > 0.8


def test_a_loss_takes_all_outputs_of_a_model() -> None:
    fields = {"model": "mine.py:heads", "epochs": 1, "learning_rate": 1e-30}
    joint, alone = (
        run(cell(loss=f"mine.py:joint(share={share})", **fields)).metrics["test_loss"]
        for share in (2.0, 0.0)
    )
    assert joint > alone + 0.5


def test_a_loss_may_change_its_copy_of_the_targets() -> None:
    assert drop_seconds(run(cell(loss="mine.py:writes"))) == drop_seconds(run(cell()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "mine.py:per_sample"}, r"returned a torch.float32 tensor of shape \(4,\) for"),
        ({"loss": "mine.py:word"}, "The loss of mine.py:word returned 'low'.*Expected a tensor of"),
        ({"loss": "mine.py:nothing"}, "must return a function of .outputs, targets.*returned 3"),
        ({"loss": "mine.py:non"}, "Did you mean"),
        ({"loss": "cross_entropy"}, r"No loss is called 'cross_entropy'.*my_file.py:make"),
        ({"loss": "mine.py:joint"}, "mine.py:joint on mine.py:data cannot be trained"),
        ({"model": "mine.py:headless"}, "in which fanin finds no output to measure"),
    ],
)
def test_what_cannot_be_trained_is_refused_while_the_study_is_planned(
    fields: dict[str, Any], message: str
) -> None:
    base = {"data": "mine.py:data", "model": "mlp(widths=[8], activation=relu)"}
    axes = {"initializer": ["he_normal"]}
    study = Study("s", base={**base, "batch_size": 16, **fields}, axes=axes)
    with pytest.raises(FaninError, match=message):
        study.plan()


def test_smoothed_labels_belong_to_the_tasks_loss() -> None:
    base = {"data": "digits", "model": "mlp", "loss": "mine.py:plain", "label_smoothing": 0.1}
    study = Study("s", base=base, axes={"initializer": ["zero"]})
    with pytest.raises(FaninError, match="label_smoothing belongs to the loss of the task"):
        study.plan()


def test_a_loss_that_counts_writes_no_checkpoint_and_starts_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = cell(loss="mine.py:counts")
    with pytest.raises(TrainingInterrupted):
        run(chosen, checkpoints=home / "c", checkpoint_interval=0, stop=lambda: True)
    assert "the loss" in capsys.readouterr().err
    assert not list((home / "c").glob("*"))


def test_a_loss_is_a_factor_with_a_column_of_its_own() -> None:
    study = Study(
        "s",
        base={"data": "mine.py:data", "model": "mlp(widths=[8])", "activation": "relu"}
        | {"initializer": "zero", "batch_size": 16, "loss": "mine.py:weighted"},
        axes={"loss.weights": [[1.0, 1.0], [1.0, 2.0]]},
    )
    plan = study.plan()
    assert [planned.cell.loss for planned in plan.cells] == [
        "mine.py:weighted",
        "mine.py:weighted(weights=[1.0, 2.0])",
    ]
    assert "loss" in plan.cells[0].cell.to_json()
    from fanin.analysis.analysis import Analysis

    results = {planned.cell.id: run(planned.cell) for planned in plan.cells}
    analysis = Analysis(plan, results)
    assert list(analysis.frame["loss.weights"]) == ["[1.0, 1.0]", "[1.0, 2.0]"]
    assert analysis.history["loss"].map(math.isfinite).all()
    assert list(analysis.frame["loss_function"]) == ["mine.py:weighted"] * 2
