"""Initializers that look at data, where fanin calls them: in the cells of studies, in users' own
trainings and in the audit.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_session import fanin as run_command
from safetensors.torch import load_file

import fanin
from fanin import apply, data, models, seeds
from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.data import prepare
from fanin.diagnosis import audit
from fanin.study.canonical_cell import make_cell
from fanin.training.objective import make_objective
from fanin.training.own_training import train_by_own_code
from fanin.training.train import DataCache, train

SPECS = ("lsuv", "data_dependent", "auto_init", "meta_init(steps=3)", "grad_init(steps=3)")


def make(spec: str, **changes: object) -> Cell:
    fields = {"data": "digits", "model": "mlp(widths=[16, 12])", "batch_size": 64, "epochs": 1}
    return make_cell({**fields, "initializer": spec, **changes})


def run(cell: Cell, folder: Path | None = None) -> Result:
    return train(cell, cache=DataCache(), environment={}, weights=folder)


@pytest.mark.parametrize("spec", SPECS)
def test_a_cell_fits_to_its_first_batch_and_loss_and_records_what_was_done(
    spec: str, tmp_path: Path
) -> None:
    cell = make(spec)
    result = run(cell, tmp_path)
    weights = load_file(tmp_path / f"{cell.id}.initial.safetensors")
    digits = data.load("digits")
    prepared = prepare(
        digits, holdout=0.1, split_seed=cell.derive_seed("split"), standardise_target=True
    )
    benchmark = models.get("mlp(widths=[16, 12])")
    model = benchmark.build_for(digits.info)
    objective = make_objective(
        digits, prepared, model=benchmark.entry, further_metrics=(), smoothing=0.0
    )
    order = seeds.draw_order(cell.derive_seed("order"), 0, len(prepared.train.y))[:64]
    record = apply.initialize(
        model,
        spec,
        seed=cell.derive_seed("init"),
        batch=objective.prepare_inputs(prepared.train.x[order]),
        target=prepared.train.y[order],
    )
    for name, one in model.named_parameters():
        assert torch.equal(one.detach(), weights[name]), name
    assert result.data["fit"] == {one.name: one.fitted for one in record.parameters if one.fitted}
    assert result.data["fit"]
    assert Result.from_json(result.to_json()).data["fit"] == result.data["fit"]
    assert run(cell).history["loss"] == result.history["loss"]


def test_a_cell_whose_initializer_looks_at_no_data_records_nothing_of_it() -> None:
    assert "fit" not in run(make("auto")).data


@pytest.mark.parametrize(
    ("name", "model"),
    [("diabetes", "regression"), ("digits", "autoencoder"), ("adding(length=10)", "rnn")],
)
def test_other_tasks_have_their_own_targets(name: str, model: str) -> None:
    """The loss of a cell, which need not be that of its labels."""
    result = run(make("grad_init(steps=2)", data=name, model=model))
    assert result.outcome == "ok"
    assert any("loss after one step" in text for text in result.data["fit"].values())


@pytest.mark.usefixtures("preloaded_workers")
def test_a_study_compares_them_with_others(tmp_path: Path) -> None:
    study = fanin.Study(
        "fitted",
        base={"data": "digits", "model": "mlp(widths=[16, 12])", "epochs": 1},
        axes={"initializer": ["he_normal", "lsuv", "auto_init"]},
        replicates=1,
    )
    results = fanin.run(study, out=tmp_path, workers=1, progress=False)
    assert {one.outcome for one in results.results.values()} == {"ok"}


TRAINER = """
from torch import nn
import torch

def fit(initialize, *, seed):
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    x, y = torch.randn(32, 6), torch.arange(32) % 3
    record = initialize(model, batch=x, target=y)
    return {"test_loss": float(nn.functional.cross_entropy(model(x), y).detach())}

def forgetful(initialize, *, seed):
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    initialize(model)
    return {"test_loss": 1.0}
"""


def test_a_trainer_of_ones_own_passes_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(TRAINER)
    monkeypatch.chdir(tmp_path)
    for spec in (*SPECS, "he_normal"):
        cell = make_cell({"trainer": "mine.py:fit", "initializer": spec})
        result = train_by_own_code(cell, environment={})
        assert ("fit" in result.data) is (spec != "he_normal")
    forgotten = make_cell({"trainer": "mine.py:forgetful", "initializer": "lsuv"})
    with pytest.raises(fanin.errors.UsageError, match="batch=x"):
        train_by_own_code(forgotten, environment={})


NETS = """
from torch import nn

def net():
    hidden = [nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(20, 3))
"""


@pytest.mark.parametrize("spec", SPECS)
def test_the_audit_on_the_command_line_initializes_with_its_batch_and_target(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    words = ("audit", "nets.py:net", "--input", "64x8", "--target", "64:int:3", "--init", spec)
    done = run_command(*words)
    assert done.code in (0, 1), done.err
    assert "does not start" in done.out or "starts" in done.out


def test_the_audit_says_what_a_method_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    done = run_command("audit", "nets.py:net", "--input", "64x8", "--init", "grad_init(steps=2)")
    assert done.code == 2
    assert "target" in done.err


def test_a_comparison_of_starts_includes_them() -> None:
    with seeds.preserve_torch_state(0):
        model = torch.nn.Sequential(torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))
    x = seeds.standard_normal((64, 8), seeds.make_generator(0, "test"))
    found = audit(model, x, target=torch.arange(64) % 3).compare(["lsuv", "grad_init(steps=2)"])
    assert {row.problem for row in found.rows} == {""}
    without = audit(model, x).compare(["lsuv", "grad_init(steps=2)"])
    problems = {row.initializer: row.problem for row in without.rows}
    assert "target" in problems["grad_init(steps=2)"]
    assert not problems["lsuv"]
