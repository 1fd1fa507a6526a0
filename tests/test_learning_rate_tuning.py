"""Tuning of the learning rate: which rate is chosen, when the grid grows, and a real study."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import fanin
from fanin import experiment
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.cli import main
from fanin.errors import FaninError, StudyError
from fanin.study import learning_rate_tuning
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.study.study import Study

STUDY = """
question = "Which?"
replicates = 2
[base]
data = "digits"
model = "mlp(widths=[8], activation=relu)"
epochs = 2
[axes]
initializer = ["he_normal", "zero"]
normalization = ["none", "layer"]
[tune]
learning_rate = [0.01, 0.1, 1.0]
replicates = 2
"""

Loss = Callable[[PlannedCell], float]


def plan(text: str = STUDY) -> tuple[LearningRateTuning, Plan]:
    study = Study.from_toml(text, "mine")
    assert study.tuning
    return study.tuning, study.plan()


def results_of(trials: Plan, loss: Loss) -> dict[str, Result]:
    found = {}
    for planned in trials.cells:
        value = loss(planned)
        outcome = "ok" if math.isfinite(value) else "diverged"
        found[planned.cell.id] = Result(
            cell=planned.cell, outcome=outcome, metrics={"val_loss": value}
        )  # type: ignore[arg-type]
    return found


def choose(loss: Loss, text: str = STUDY) -> dict[tuple[str, ...], float]:
    """The rates that the stages end with, by rate group."""
    tuning, evaluation = plan(text)
    results: dict[str, Result] = {}
    for stage in learning_rate_tuning.plan_stages(tuning, evaluation, results.copy):
        if not stage.cells[0].cell.tuned:
            results.update(results_of(stage, loss))
    return {tuning.find_group(planned): planned.cell.learning_rate for planned in stage.cells}


def distance(target: float) -> Loss:
    return lambda planned: abs(math.log10(planned.cell.learning_rate / target))


def test_each_condition_tries_each_rate_on_seeds_that_the_evaluation_does_not_use() -> None:
    tuning, evaluation = plan()
    trials = learning_rate_tuning.plan_trials(
        tuning, evaluation, learning_rate_tuning.list_first_rates(tuning, evaluation)
    )
    assert len(trials.cells) == 4 * 3 * 2
    drawn = {p.cell.derive_seed(f) for p in trials.cells for f in ("init", "order", "split")}
    assert not drawn & {
        p.cell.derive_seed(f) for p in evaluation.cells for f in ("init", "order", "split")
    }


def test_the_lowest_mean_validation_loss_wins_and_diverged_runs_count_as_infinite() -> None:
    assert set(choose(distance(0.1)).values()) == {0.1}

    def diverges(planned: PlannedCell) -> float:
        at_best = planned.cell.learning_rate == 0.1 and planned.cell.replicate == 1
        return (
            math.inf
            if at_best
            else distance(0.1)(planned) + (0.5 if planned.cell.learning_rate == 1.0 else 0)
        )

    assert set(choose(diverges).values()) == {0.01}


def test_the_grid_grows_at_its_edge_until_the_best_lies_inside() -> None:
    assert set(choose(distance(0.0001)).values()) == {0.0001}
    assert set(choose(distance(100.0)).values()) == {100.0}


def test_the_grid_grows_by_four_rates_at_most() -> None:
    assert set(choose(distance(1e9)).values()) == {10_000.0}


def test_only_the_conditions_at_the_edge_try_another_rate() -> None:
    tuning, evaluation = plan()
    rates = learning_rate_tuning.list_first_rates(tuning, evaluation)
    best = dict.fromkeys(rates, 0.1) | {("he_normal", "none"): 1.0}
    grown = learning_rate_tuning.extend_grids(tuning, rates, best)
    assert grown is not None
    assert {condition for condition in grown if len(grown[condition]) > 3} == {
        ("he_normal", "none")
    }


def test_rates_that_share_the_best_loss_give_the_middle_one() -> None:
    assert set(
        choose(lambda planned: 1.0 if planned.cell.learning_rate < 1.0 else 2.0).values()
    ) == {0.01}
    assert set(
        choose(lambda planned: 1.0 if 0.005 < planned.cell.learning_rate < 50 else 2.0).values()
    ) == {0.1}


def test_if_nothing_learns_or_everything_diverges_lower_rates_are_tried() -> None:
    assert set(choose(lambda planned: 2.3).values()) == {0.000001}
    assert set(
        choose(lambda planned: math.inf if planned.cell.learning_rate > 1e-4 else 1.0).values()
    ) == {0.00001}


def test_a_rate_for_each_initializer_averages_the_ranks_over_the_rest() -> None:
    text = STUDY + 'per = ["initializer"]\n'

    def loss(planned: PlannedCell) -> float:
        # With layer normalization losses are 1,000 times as large, and must not drown the others.
        scale = 1000.0 if planned.cell.normalization == "layer" else 1.0
        return scale * distance(0.1 if planned.cell.initializer == "zero" else 0.01)(planned)

    assert choose(loss, text) == {("he_normal",): 0.01, ("zero",): 0.1}


def test_a_rate_can_be_tuned_on_few_conditions() -> None:
    text = STUDY + 'per = ["initializer"]\nat = { normalization = "none" }\n'
    tuning, evaluation = plan(text)
    trials = learning_rate_tuning.plan_trials(
        tuning, evaluation, learning_rate_tuning.list_first_rates(tuning, evaluation)
    )
    assert {p.cell.normalization for p in trials.cells} == {None}
    assert len(trials.cells) == 2 * 3 * 2


def test_the_evaluation_has_the_chosen_rates_and_one_block_per_comparison() -> None:
    tuning, evaluation = plan()
    best = {
        condition: 0.1 if condition[0] == "zero" else 0.01
        for condition in learning_rate_tuning.list_first_rates(tuning, evaluation)
    }
    tuned = learning_rate_tuning.plan_evaluation(tuning, evaluation, best)
    assert {(p.cell.initializer, p.cell.learning_rate) for p in tuned.cells} == {
        ("zero", 0.1),
        ("he_normal", 0.01),
    }
    assert len({p.cell.block for p in tuned.cells}) == 4  # two normalizations, two replicates
    assert any("tuned" in note for note in tuned.notes)
    assert not any("not tuned" in note for note in tuned.notes)
    one = tuned.cells[0].cell
    assert replace(one, tuned=False).id != one.id


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tune]\nlearning_rate = [0.1]", "at least two"),
        ("[tune]\nlearning_rate = [0.1, -1.0]", "at least two"),
        ("[tune]\nlearning_rate = [0.1, 0.2]\nreplicates = 0", "replicates"),
        ("[tune]\nlearning_rates = [0.1, 0.2]", "learning_rate"),
        ("[tune]\nlearning_rate = [0.1, 0.2]\nper = ['optimizer']", "axis of the study"),
        ("[tune]\nlearning_rate = [0.1, 0.2]\nat.optimizer = 'sgd'", "axis of the study"),
        (
            "[[grid]]\nlearning_rate = [0.1]\n[tune]\nlearning_rate = [0.1, 0.2]",
            "is an axis already",
        ),
    ],
)
def test_a_mistake_in_the_tuning_is_reported(text: str, says: str) -> None:
    with pytest.raises(FaninError, match=says):
        Study.from_toml(STUDY[: STUDY.index("[tune]")] + text, "mine")


def test_a_place_to_tune_that_a_condition_lacks_is_an_error() -> None:
    text = STUDY + 'at = { initializer = "zero" }\n'
    tuning, evaluation = plan(text)
    with pytest.raises(StudyError, match="without a training to tune on"):
        learning_rate_tuning.plan_trials(
            tuning, evaluation, learning_rate_tuning.list_first_rates(tuning, evaluation)
        )


def test_a_study_tunes_then_evaluates_and_the_same_command_trains_nothing_more(
    tmp_path: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_rate_tuning, "MAX_EXTENSIONS", 1)
    study = tmp_path / "tuned.toml"
    study.write_text(
        STUDY.replace("[0.01, 0.1, 1.0]", "[0.001, 0.003, 0.01]").replace(
            "replicates = 2\n[base]", "[base]"
        )
    )
    results = fanin.run(str(study), out=tmp_path / "out", workers=1)
    assert results.outcomes == {"ok": 4}
    assert all(p.cell.tuned for p in results.plan.cells)
    resolved = (tmp_path / "out" / "study.toml").read_text()
    assert Study.from_toml(resolved, "tuned") == Study.load(str(study))
    started = []
    again = fanin.run(str(study), out=tmp_path / "out", workers=1, on_event=started.append)
    assert {p.cell.id for p in again.plan.cells} == {p.cell.id for p in results.plan.cells}
    assert [
        type(event).__name__ for event in started if type(event).__name__ == "CellFinished"
    ] == []
    assert experiment.load_results(tmp_path / "out").plan == results.plan


def test_a_dry_run_prices_tuning_and_evaluation_and_knows_what_is_done(
    tmp_path: Path, preloaded_workers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "tuned.toml"
    study.write_text(
        STUDY.replace("[0.01, 0.1, 1.0]", "[0.001, 0.003, 0.01]").replace(
            "epochs = 2", "epochs = 1"
        )
    )
    words = [
        "run",
        str(study),
        "--out",
        str(tmp_path / "out"),
        "--replicates",
        "1",
        "--workers",
        "1",
    ]

    def estimate() -> dict[str, object]:
        capsys.readouterr()
        assert main([*words, "--dry-run", "--json"]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    before = estimate()
    assert (before["tuning"], before["to_train"]) == (24, 28)
    fanin.run(str(study), out=tmp_path / "out", replicates=1, workers=1)
    after = estimate()
    assert (after["tuning"], after["to_train"]) == (0, 0)


def test_seeds_that_the_study_sets_differ_in_the_tuning_too() -> None:
    tuning, evaluation = plan(
        STUDY.replace("epochs = 2", "epochs = 2\ninit_seed = 5\norder_seed = 7")
    )
    trials = learning_rate_tuning.plan_trials(
        tuning, evaluation, learning_rate_tuning.list_first_rates(tuning, evaluation)
    )
    drawn = {p.cell.derive_seed(factor) for p in trials.cells for factor in ("init", "order")}
    assert not drawn & {5, 7}
    assert len({p.cell.derive_seed("init") for p in trials.cells}) == 2


def test_a_part_of_a_study_gets_the_rates_that_the_whole_would_get() -> None:
    study = Study.from_toml(
        STUDY + 'per = ["initializer"]\nat = { normalization = "layer" }\n', "mine"
    )
    assert study.tuning
    part = study.plan(only={"normalization": ["none"], "initializer": ["zero"]})
    stages = learning_rate_tuning.plan_stages(
        study.tuning, part, dict, whole=study.plan(replicates=1)
    )
    first = next(stages)
    assert first.is_tuning
    assert {(p.cell.initializer, p.cell.normalization) for p in first.cells} == {("zero", "layer")}


def test_a_trial_that_failed_makes_no_grid_grow() -> None:
    tuning, evaluation = plan()
    rates = learning_rate_tuning.list_first_rates(tuning, evaluation)
    trials = learning_rate_tuning.plan_trials(tuning, evaluation, rates)
    results = {p.cell.id: Result(cell=p.cell, outcome="failed", message="no") for p in trials.cells}
    best = learning_rate_tuning.choose_rates(tuning, evaluation, rates, results)
    failed = learning_rate_tuning.find_failed_groups(tuning, trials, results)
    assert failed == set(rates)
    assert learning_rate_tuning.extend_grids(tuning, rates, best, failed) is None


@pytest.mark.parametrize(
    "only", [{"normalization": "none"}, {"normalization": ["none"], "epochs": 2}]
)
def test_only_takes_values_as_python_has_them(only: dict[str, object]) -> None:
    study = Study.from_toml(STUDY, "mine")
    assert {p.cell.normalization for p in experiment.make_plan(study, only=only).cells} == {None}


def test_an_only_that_is_no_mapping_says_what_it_should_be() -> None:
    with pytest.raises(FaninError, match="only maps an axis to a value"):
        experiment.make_plan(Study.from_toml(STUDY, "mine"), only="zero")  # type: ignore[arg-type]
