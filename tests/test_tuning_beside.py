"""Fixed and tuned learning rates side by side: equal budgets, and what tuning changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_session import fanin as run_command
from newcomer_files import STUDY, write_files

from fanin import seeds
from fanin.cell.cell import Cell
from fanin.cell.plan import FIXED, TUNED, Plan
from fanin.cell.result import Result
from fanin.errors import StudyError
from fanin.report.results import Results
from fanin.study import learning_rate_tuning
from fanin.study.study import Study

BASE = {"model": "mlp(widths=[4], activation=relu)", "data": "digits", "epochs": 1}
NAMES = ["he_normal", "xavier_uniform", "orthogonal"]


def make_study(replicates: int = 12, **tuning: Any) -> Study:
    return Study(
        "sides",
        base={**BASE, "learning_rate": 0.5},
        axes={"initializer": NAMES},
        replicates=replicates,
        tuning={"learning_rate": [0.01, 0.1], "replicates": 2, "beside": True, **tuning},
    )


def answer(
    cell: Cell, best: Mapping[str, float], scores: Mapping[tuple[str, bool], float]
) -> Result:
    """A result whose validation loss is least at the best rate, and whose accuracy is the score
    plus noise that the initializers of a replicate share.
    """
    generator = seeds.make_generator(
        cell.replicate, "beside", cell.initializer, str(cell.tuned), cell.seed
    )
    shared = seeds.standard_normal((1,), seeds.make_generator(cell.replicate, "beside")).item()
    own = seeds.standard_normal((1,), generator).item()
    loss = abs(math.log10(cell.learning_rate / best[cell.initializer]))
    score = scores.get((cell.initializer, cell.tuned), 0.5)
    metrics = {"val_loss": loss, "test_accuracy": score + 0.05 * shared + 0.002 * own}
    return Result(cell=cell, outcome="ok", metrics=metrics, environment={"torch": "2"})


def run(
    study: Study,
    best: Mapping[str, float] | None = None,
    scores: Mapping[tuple[str, bool], float] | None = None,
) -> tuple[list[Plan], Results]:
    """All plans of a study whose trainings are made up, and the results of the last."""
    assert study.tuning is not None
    found: dict[str, Result] = {}
    plans = []
    optima = {"he_normal": 0.1, "xavier_uniform": 0.1, "orthogonal": 0.1, **(best or {})}
    for plan in learning_rate_tuning.plan_stages(study.tuning, study.plan(), lambda: found):
        plans.append(plan)
        for planned in plan.cells:
            found[planned.cell.id] = answer(planned.cell, optima, scores or {})
    return plans, Results(plans[-1], found)


def test_every_cell_is_trained_with_the_studys_rate_and_with_its_own() -> None:
    plans, results = run(make_study(replicates=2))
    cells = [planned.cell for planned in plans[-1].cells]
    assert len(cells) == 2 * 2 * 3
    assert {cell.learning_rate for cell in cells if not cell.tuned} == {0.5}
    assert {cell.learning_rate for cell in cells if cell.tuned} == {0.1}
    labels = {planned.labels["tuned"] for planned in plans[-1].cells}
    assert labels == {FIXED, TUNED}
    text = str(results)
    assert "digits · fixed rate" in text
    assert "digits · tuned rate" in text


def test_the_cells_of_the_two_halves_are_those_of_a_fixed_and_of_a_tuned_study() -> None:
    fixed = Study("f", base={**BASE, "learning_rate": 0.5}, axes={"initializer": NAMES})
    tuned = Study(
        "t", base=BASE, axes={"initializer": NAMES}, tuning={"learning_rate": [0.01, 0.1]}
    )
    plans, _ = run(make_study(replicates=1, equal_budgets=False))
    ids = {planned.cell.id for planned in plans[-1].cells}
    assert {planned.cell.id for planned in fixed.plan().cells} < ids
    tuned_plans, _ = run(tuned)
    assert {planned.cell.id for planned in tuned_plans[-1].cells} < ids


def test_budgets_are_equal_and_stated_even_if_one_grid_is_extended() -> None:
    """The best rate of one initializer lies beyond the grid: all of them try the further ones."""
    plans, results = run(make_study(replicates=2), {"orthogonal": 10.0})
    counts = learning_rate_tuning.count_trials(plans[-2])
    assert len(set(counts.values())) == 1
    assert counts["he_normal"] > 2 * 2
    assert f"equal budgets: {counts['he_normal']} trial trainings" in " ".join(results.plan.notes)
    unequal, other = run(make_study(replicates=2, equal_budgets=False), {"orthogonal": 10.0})
    differing = learning_rate_tuning.count_trials(unequal[-2])
    assert differing["he_normal"] < differing["orthogonal"]
    assert "unequal budgets" in " ".join(other.plan.notes)


def test_a_planted_effect_of_tuning_is_found_and_the_reversed_order_is_said() -> None:
    """Twelve paired replicates: orthogonal is .02 behind he_normal with the fixed rate and .02
    ahead with tuned ones, so the contrast is .04; xavier_uniform is not moved.
    """
    scores = {("orthogonal", False): 0.48, ("orthogonal", True): 0.52}
    _, results = run(make_study(), scores=scores)
    frame = results.contrast_rates("he_normal").set_index("value")
    moved, still = frame.loc["orthogonal"], frame.loc["xavier_uniform"]
    assert moved["mean"] == pytest.approx(0.04, abs=0.004)
    assert (moved["judgement"], moved["reversed"]) == ("better", True)
    assert moved["low"] < 0.04 < moved["high"]
    assert moved["mean"] == pytest.approx(moved["tuned"] - moved["fixed"])
    assert (still["judgement"], still["reversed"]) == ("cannot tell", False)
    told = " ".join(results.verdict("he_normal").lines)
    assert "relative to he_normal, tuning favours orthogonal (+0.0" in told
    assert "the order is reversed of orthogonal and he_normal" in told


def test_noise_alone_reverses_no_order() -> None:
    """Without an effect the means still come in another order; nothing may be called reversed."""
    for seed in range(20):
        study = replace(make_study(), seed=seed)
        _, results = run(study, scores={})
        contrasts = results.analysis.rate_contrasts
        assert not any(item.is_reversed for each in contrasts for item in each.contrasts)
        assert "no order with he_normal is shown to be reversed" in str(results.verdict())


def test_with_diverged_runs_the_contrast_is_judged_by_its_signs() -> None:
    """With the fixed rate orthogonal diverges in every replicate, tuned it never does."""
    _, results = run(make_study())
    found = dict(results.results)
    for planned in results.plan.cells:
        cell = planned.cell
        if cell.initializer == "orthogonal" and not cell.tuned:
            found[cell.id] = replace(found[cell.id], outcome="diverged", metrics={"epochs": 1})
    frame = replace(results, results=found).contrast_rates("he_normal").set_index("value")
    assert math.isnan(frame.loc["orthogonal", "mean"])
    assert frame.loc["orthogonal", "judgement"] == "better"


def test_few_replicates_are_too_few_for_a_contrast() -> None:
    _, results = run(make_study(replicates=3))
    assert set(results.contrast_rates()["judgement"]) == {"too few"}
    assert "too few pairs to test (10 needed)" in str(results.verdict())


def test_only_tuned_sections_are_ranked_as_problems() -> None:
    study = Study(
        "three",
        base={**BASE, "learning_rate": 0.5},
        axes={"initializer": NAMES, "optimizer": ["sgd", "adam", "rmsprop"]},
        replicates=2,
        tuning={"learning_rate": [0.01, 0.1], "beside": True},
    )
    _, results = run(study)
    ranks = results.analysis.problem_ranks
    assert ranks is not None
    assert ranks.sections == 3


def test_a_study_without_both_has_no_contrasts() -> None:
    study = Study(
        "t", base=BASE, axes={"initializer": NAMES}, tuning={"learning_rate": [0.01, 0.1]}
    )
    _, results = run(study)
    assert results.contrast_rates().empty
    assert "tuning" not in results.verdict().to_json()
    assert not any("budgets" in note for note in results.plan.notes)


def test_a_study_file_asks_for_both_and_a_fixed_rate_alone_is_refused() -> None:
    study = make_study()
    assert Study.from_toml(study.to_toml(), "sides") == study
    assert study.tuning is not None
    assert study.tuning.equal_budgets
    with pytest.raises(StudyError, match=r"beside = true in \[tune\]"):
        make_study(beside=False)


def test_the_command_trains_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloaded_workers: None
) -> None:
    monkeypatch.chdir(tmp_path)
    text = STUDY.replace("replicates = 10", "replicates = 1") + (
        "[tune]\nlearning_rate = [0.01, 0.1]\nreplicates = 1\nbeside = true\n"
    )
    study = write_files(tmp_path, text)
    done = run_command("run", study, "--workers", 1, "--json")
    assert done.code == 0, done.err
    assert done.record["outcomes"] == {"ok": 4}
    assert "equal budgets" in " ".join(done.record["table"]["notes"]).lower()
    (told,) = done.record["verdict"]["tuning"]
    assert told["contrasts"][0]["value"] == "zero"
    assert Path(done.record["files"]["page"]).is_file()
