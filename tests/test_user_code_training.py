"""User components in training: reproducible to the bit, resumed exactly, refused before they spoil
a result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from combinations import for_each

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.errors import FaninError, FitError, StudyError
from fanin.study.canonical_cell import make_cell
from fanin.study.study import Study
from fanin.training import metrics, optimizers
from fanin.training.train import DataCache, TrainingInterrupted, train

COMPONENTS = """
import torch
from torch import nn

def dropping(input_shape, outputs):
    hidden = nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(16, outputs))

class Tied(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, outputs)
        self.two.weight = self.one.weight
    def forward(self, x):
        return self.out(torch.relu(self.two(torch.relu(self.one(x.flatten(1))))))

def tied(input_shape, outputs):
    return Tied(outputs)

def halves(parameters, lr):
    parameters = list(parameters)
    groups = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": lr / 10}]
    return torch.optim.SGD(groups, lr)

class Counting(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        self.state[self.param_groups[0]["params"][0]]["n"] = 3

def counting(parameters, lr):
    return Counting(list(parameters), lr)

def partly(parameters, lr):
    return torch.optim.SGD(list(parameters)[:1], lr)

def zeros():
    def loss(outputs, targets):
        return torch.zeros(len(targets))
    loss.name = "loss"
    return loss

def flat():
    return lambda outputs, targets: outputs.sum()

def broken():
    def broken(outputs, targets):
        return targets * 0.0 / (targets != 3)
    return broken

def raising():
    def raising(outputs, targets):
        if len(targets) % 64:
            raise ZeroDivisionError("nothing to divide by")
        return targets * 1.0
    return raising

def lower():
    def spread(outputs, targets):
        return outputs.std(1)
    spread.better, spread.name = "min", "spread"
    return spread
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of the references, without the name of the function."""
    (tmp_path / "mine.py").write_text(COMPONENTS)
    monkeypatch.chdir(tmp_path)
    return "mine.py"


def cell(**changes: Any) -> Cell:
    base = {
        "data": "digits",
        "model": "mlp(widths=[8], activation=relu)",
        "initializer": "he_normal",
        "epochs": 3,
    }
    return make_cell({**base, "optimizer": "sgd(momentum=0.9)", "learning_rate": 0.01, **changes})


def run(chosen: Cell, **options: Any) -> Result:
    return train(chosen, cache=DataCache(), environment={}, **options)


def resumed(chosen: Cell, folder: Path) -> Result:
    with pytest.raises(TrainingInterrupted):
        run(chosen, checkpoints=folder, checkpoint_interval=0, stop=lambda: True)
    return run(chosen, checkpoints=folder)


def test_torchs_own_dropout_gives_the_same_bits_again_and_after_a_resume(
    mine: str, tmp_path: Path
) -> None:
    chosen = cell(model=f"{mine}:dropping")
    whole = run(chosen)
    torch.rand(7, generator=torch.Generator().manual_seed(0))
    assert run(chosen).history["loss"] == whole.history["loss"]
    assert resumed(chosen, tmp_path / "c").history["loss"] == whole.history["loss"]
    assert (
        run(cell(model=f"{mine}:dropping", dropout_seed=9)).history["loss"] != whole.history["loss"]
    )


def test_a_model_with_tied_weights_is_saved_and_resumed(mine: str, tmp_path: Path) -> None:
    chosen = cell(model=f"{mine}:tied")
    assert (
        resumed(chosen, tmp_path / "c").history["loss"]
        == run(chosen, weights=tmp_path / "w").history["loss"]
    )
    assert len(list((tmp_path / "w").iterdir())) == 2


@pytest.mark.parametrize(
    "reference",
    ["torch.optim:NAdam", "torch.optim:ASGD", "torch.optim:Adagrad", "torch.optim:RAdam"],
)
def test_an_optimizer_of_torch_that_fanin_does_not_have_resumes_bit_for_bit(
    reference: str, tmp_path: Path
) -> None:
    chosen = cell(optimizer=reference)
    assert resumed(chosen, tmp_path).history["loss"] == run(chosen).history["loss"]


def test_an_optimizer_that_remembers_numbers_starts_anew_instead_of_resuming_wrong(
    mine: str, tmp_path: Path
) -> None:
    chosen = cell(optimizer=f"{mine}:counting")
    assert resumed(chosen, tmp_path / "c").history["loss"] == run(chosen).history["loss"]
    assert not list((tmp_path / "c").glob("*"))


@pytest.mark.usefixtures("draws_globally")
def test_groups_with_rates_of_their_own_keep_their_proportions_under_a_schedule(mine: str) -> None:
    made = optimizers.REGISTRY.make(f"{mine}:halves").build(
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)), 0.1
    )
    optimizers.set_rate(made, 0.02)
    assert [group["lr"] for group in made.param_groups] == pytest.approx([0.02, 0.002])


def test_an_optimizer_over_part_of_the_parameters_is_refused(mine: str) -> None:
    with pytest.raises(FitError, match="1 of the model's 4 parameters"):
        run(cell(optimizer=f"{mine}:partly"))


def test_a_metric_may_not_have_the_name_of_a_column(mine: str) -> None:
    with pytest.raises(FitError, match="name of a column"):
        metrics.REGISTRY.make(f"{mine}:zeros")


def test_a_metric_must_give_a_number_for_each_sample(mine: str) -> None:
    with pytest.raises(FitError, match=r"a tensor of shape \(\) for a batch"):
        run(cell(metrics=[f"{mine}:flat"]))


@for_each("name", ["broken", "raising"])
def test_a_metric_that_is_not_finite_or_raises_is_missing_and_the_cell_goes_on(
    mine: str, name: str
) -> None:
    plain, result = run(cell()), run(cell(metrics=[f"{mine}:{name}", f"{mine}:lower"]))
    assert result.outcome == "ok"
    assert result.history["val_loss"] == plain.history["val_loss"]
    assert len(result.history[f"val_{name}"]) == 3
    assert {key for key in result.metrics if name in key} == set()
    assert result.metrics.keys() - plain.metrics.keys() == {"val_spread", "test_spread"}
    assert result.data["missing_metrics"] == [name]


def test_a_user_metric_is_measured_and_its_direction_recorded(mine: str) -> None:
    result = run(cell(metrics=[f"{mine}:lower"]))
    assert result.metrics["val_spread"] == min(result.history["val_spread"])
    assert result.data["metrics"] == {"spread": "min"}
    assert result.cell.sources[0][0] == f"{mine}:lower"


def test_a_file_that_changed_since_the_cell_was_planned_is_refused(mine: str) -> None:
    chosen = cell(model=f"{mine}:tied")
    Path(mine).write_text(COMPONENTS + "\n# changed\n")
    with pytest.raises(FaninError, match="changed"):
        run(chosen)


# What a study refuses before any work


STUDY = """
replicates = 1
[base]
data = "digits"
model = "mlp(widths=[8], activation=relu)"
epochs = 1
[axes]
"""


def message(text: str) -> str:
    with pytest.raises(FaninError) as caught:
        Study.from_toml(STUDY + text, "mine").plan()
    return str(caught.value)


def test_smoothing_of_a_regression_is_refused_behind_a_value_that_fits() -> None:
    text = 'data = ["diabetes"]\nmodel = ["regression"]\ninitializer = ["zero"]\n'
    text += "label_smoothing = [0, 0.1]\n"
    assert "spreads a label over classes" in message(text)


def test_a_metric_that_does_not_measure_the_task_is_refused_with_its_line() -> None:
    assert "line 8 (metrics = [mae]) and line 4 (data): mae does not measure" in message(
        'metrics = [["mae"]]\ninitializer = ["zero"]\n'
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'initializer = [{ label = "x", use = "zero" }, { label = "x", use = "he_normal" }]',
            "are called 'x'",
        ),
        (
            'initializer = ["zero"]\n[tune]\nlearning_rate = [nan, 0.1]',
            "different positive numbers",
        ),
        ('initializer = ["zero"]\nbiases.value = [1.0]', "biases, which is not given"),
        ('initializer = ["zero"]\noptimizer = ["sgd(lr=0)"]', "positive number, not 0"),
    ],
)
def test_mistakes_that_were_let_pass_are_told(text: str, says: str) -> None:
    assert says in message(text)


def test_a_learning_rate_beside_its_tuning_is_refused() -> None:
    text = (
        STUDY.replace("epochs = 1", "learning_rate = 0.5")
        + 'initializer = ["zero"]\n[tune]\nlearning_rate = [0.1, 0.2]\n'
    )
    with pytest.raises(StudyError, match="line 6: the learning rate is tuned, and given here too"):
        Study.from_toml(text, "mine")


def test_combinations_that_cannot_exist_can_be_excluded() -> None:
    text = 'data = ["digits", "diabetes"]\nmodel = ["mlp", "regression"]\ninitializer = ["zero"]\n'
    text += '[[exclude]]\ndata = "digits"\nmodel = "regression"\n'
    planned = Study.from_toml(STUDY + text, "mine").plan().cells
    assert [(p.cell.data, p.cell.model) for p in planned] == [
        ("digits", "mlp"),
        ("diabetes", "mlp"),
        ("diabetes", "regression"),
    ]
