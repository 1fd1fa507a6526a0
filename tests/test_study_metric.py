"""The metric that a study's table, differences and tuning look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cli_session import TINY
from cli_session import fanin as run_command
from combinations import for_each
from study_cases import plan_of, results_of

from fanin.cell.result import Result
from fanin.errors import FaninError, StudyError
from fanin.report.results import Results
from fanin.study import learning_rate_tuning
from fanin.study.study import Study

BASE = {"model": "mlp", "data": "digits"}
AXES = {"initializer": ["zero", "he_normal"]}


def make_results(metric: str = "") -> Results:
    plan = plan_of([("mlp", "mnist"), ("regression", "california-housing")], replicates=2)
    plan = replace(plan, metric=metric)
    return Results(plan, results_of(plan))


@for_each("name, column", [("loss", "test_loss"), ("val_loss", "val_loss"), ("epochs", "epochs")])
def test_differences_verdicts_and_table_are_by_the_metric(name: str, column: str) -> None:
    results = make_results().rank_by(name)
    assert set(results.differences()["metric"]) == {column}
    assert column in [c.key for c in results.table().columns]
    assert f"Values are compared by {column.replace('_', ' ')}" in str(results).replace("\n  ", " ")
    assert {item.metric for item in results.analysis.comparisons} == {column}


def test_sections_without_the_metric_keep_their_main_one_and_it_is_said() -> None:
    results = make_results("accuracy")
    assert results.differences()["metric"].tolist() == ["test_accuracy"] * 5 + ["test_mae"] * 5
    assert "1 sections have not measured it" in str(results).replace("\n  ", " ")


def test_a_metric_that_nobody_measured_is_told() -> None:
    with pytest.raises(FaninError, match="Did you mean val_accuracy or test_accuracy"):
        make_results().rank_by("acuracy")


def test_ranks_and_figures_take_the_metric_too() -> None:
    by_loss = make_results().rank_by("loss")
    assert by_loss.summary()["mean_rank"].notna().all()
    # The losses of these results are ordered against their accuracies.
    plain = make_results().summary()
    assert not plain["mean_rank"].equals(by_loss.summary()["mean_rank"])


@for_each(
    "metric, says",
    [
        ("acuracy", "Did you mean accuracy"),
        ("f1", "No metric of this study is called 'f1'"),
        ("test_epochs", "No metric of this study"),
    ],
)
def test_an_unknown_metric_is_refused_before_anything_trains(metric: str, says: str) -> None:
    with pytest.raises(FaninError) as caught:
        Study("x", base=BASE, axes=AXES, metric=metric).plan()
    assert says in str(caught.value)


def test_a_study_holds_its_metric_and_its_tuning_follows() -> None:
    study = Study("x", base=BASE, axes=AXES, metric="accuracy", tuning={"learning_rate": [0.1, 1]})
    assert study.tuning is not None
    assert study.tuning.metric == "val_accuracy"
    assert Study.from_toml(study.to_toml(), "x") == study
    assert study.plan().metric == "accuracy"
    by_loss = study.override(metric="test_loss")
    assert by_loss.tuning is not None
    assert (by_loss.metric, by_loss.tuning.metric) == ("test_loss", "val_loss")
    assert "metric" not in Study("x", base=BASE, axes=AXES).to_toml()


def test_rates_cannot_be_tuned_by_what_some_cells_do_not_measure() -> None:
    study = Study(
        "x",
        base={},
        axes=AXES,
        grids=[
            {"model": ["mlp"], "data": ["digits"]},
            {"model": ["regression"], "data": ["diabetes"]},
        ],
        tuning={"learning_rate": [0.1, 1]},
        metric="accuracy",
    )
    with pytest.raises(StudyError, match="diabetes does not measure"):
        study.plan()
    assert study.plan(only={"data": ["digits"]}).metric == "accuracy"


def test_the_tuning_takes_the_rate_that_is_best_by_the_metric() -> None:
    study = Study(
        "x", base=BASE, axes={"initializer": ["zero"]}, tuning={"learning_rate": [0.1, 1, 10]}
    )
    for metric, best in (("loss", 0.1), ("accuracy", 1.0)):
        chosen = study.override(metric=metric)
        assert chosen.tuning is not None
        plan = chosen.plan()
        rates = learning_rate_tuning.list_first_rates(chosen.tuning, plan)
        found = {}
        for planned in learning_rate_tuning.plan_trials(chosen.tuning, plan, rates).cells:
            rate = planned.cell.learning_rate
            metrics = {"val_loss": rate, "val_accuracy": 0.9 if rate == 1 else 0.5}
            found[planned.cell.id] = Result(cell=planned.cell, outcome="ok", metrics=metrics)
        assert list(
            learning_rate_tuning.choose_rates(chosen.tuning, plan, rates, found).values()
        ) == [best]


def test_the_command_takes_a_metric(tmp_path: Path, preloaded_workers: None) -> None:
    study, out = tmp_path / "tiny.toml", tmp_path / "out"
    study.write_text(TINY)
    refused = run_command("run", study, "--out", out, "--metric", "acuracy")
    assert refused.code == 2
    assert "accuracy" in refused.err
    assert not out.exists()
    done = run_command("run", study, "--out", out, "--workers", 1, "--metric", "loss", "--json")
    assert done.code == 0, done.err
    assert done.record["verdict"]["sections"][0]["metric"] == "test_loss"
    report = run_command("report", out, "--metric", "val_accuracy", "--json")
    assert report.record["verdict"]["sections"][0]["metric"] == "val_accuracy"
    assert "val loss" in run_command("export", out, "--to", "markdown", "--metric", "val_loss").out
    told = run_command("export", out, "--to", "csv", "--metric", "nothing")
    assert (told.code, "test_accuracy" in told.err) == (2, True)
