"""The built-in studies: each states its question and its time, plans, and runs when shortened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

import fanin
from fanin.cell.plan import Plan
from fanin.study import builtin_studies, learning_rate_tuning
from fanin.study.study import Study

NAMES = builtin_studies.list_builtin_studies()
EMBEDDED = ("digits", "diabetes")
IMAGES = {
    "mnist": (28, 1, 10),
    "fashion-mnist": (28, 1, 10),
    "cifar10": (32, 3, 10),
    "cifar100": (32, 3, 100),
}

TRAINED_IN_EVERY_RUN = {
    "quick",
    "case-study",
    "shared-stream",
    "learning-rate",
    "phase-diagram",
    "autoencoder",
    "recurrent",
}
"""All models and data sets of the studies. The others tune an `mlp` on digits as well, and differ
in the values of their axes; they are slow tests.
"""

NEED_TEXT = ("gpt-recipes",)
"""The studies of tiny Shakespeare, which is downloaded. Its stand-in are generated tokens."""

every_study = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data under the names of the real ones: enlarged digits, and diabetes for housing."""
    digits = load_digits()
    for name, (side, channels, classes) in IMAGES.items():
        grown = np.kron(digits.images[:200] * 15, np.ones((side // 8, side // 8))).astype(np.uint8)
        x = np.zeros((200, side, side, channels), np.uint8)
        x[:, : grown.shape[1], : grown.shape[2]] = grown[..., None]
        save(tmp_path, name, x, digits.target[:200], classes=np.arange(classes))
    diabetes = load_diabetes()
    save(
        tmp_path,
        "california-housing",
        diabetes.data[:200, :8].astype(np.float32),
        diabetes.target[:200].astype(np.float32),
    )
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))


def save(folder: Path, name: str, x: np.ndarray, y: np.ndarray, **further: np.ndarray) -> None:
    (folder / name).mkdir()
    parts = {"x_train": x[:150], "y_train": y[:150], "x_test": x[150:], "y_test": y[150:]}
    np.savez(folder / name / f"{name}.npz", **parts, **further)


def shorten(study: Study) -> dict[str, list[str]]:
    """One value of each axis and two initializers."""
    grid = study.grids[0]
    return {
        axis: [choice.label for choice in choices[: 2 if axis == "initializer" else 1]]
        for axis, choices in grid.items()
    }


def shorten_tuning(study: Study) -> Study:
    """The study with one trial of each of two learning rates, if it tunes them."""
    if study.tuning is None:
        return study
    tuning = replace(study.tuning, rates=study.tuning.rates[:2], replicates=1)
    return replace(study, tuning=tuning)


@every_study
def test_a_study_states_its_question_in_two_lines_and_its_time(name: str) -> None:
    study = Study.load(name)
    assert 1 <= len(study.question.splitlines()) <= 2
    assert all(len(line) <= 80 for line in study.question.splitlines())
    assert study.question.rstrip().endswith("?")
    assert "two cores" in study.time


@every_study
def test_a_study_plans_within_what_can_be_planned(name: str) -> None:
    plan = Study.load(name).plan()
    assert 0 < len(plan.cells) < 3000
    assert Plan.from_json(plan.to_json()) == plan


@every_study
def test_a_study_can_be_tested_statistically_or_says_that_it_is_a_first_look(name: str) -> None:
    study = Study.load(name)
    assert study.replicates >= 10 or name in ("quick", "case-study", "variance")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in TRAINED_IN_EVERY_RUN))
        for name in NAMES
    ],
)
def test_a_study_runs_shortened_without_any_download(
    name: str,
    stand_ins: None,
    tmp_path: Path,
    preloaded_workers: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learning_rate_tuning, "MAX_EXTENSIONS", 0)
    study = shorten_tuning(Study.load(name))
    if name in NEED_TEXT:
        study = replace(study, base=study.base | {"data": "copying(n_train=200, n_test=50)"})
    results = fanin.run(
        study, out=tmp_path / "out", replicates=1, max_epochs=1, only=shorten(study), workers=1
    )
    assert set(results.outcomes) <= {"ok", "diverged"}
    assert results.outcomes.get("ok")
    assert len(str(results).splitlines()) > 3


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("case-study", "shared-stream", *NEED_TEXT)]
)
def test_a_study_other_than_the_case_studys_needs_no_download(name: str) -> None:
    data = {planned.cell.data for planned in Study.load(name).plan(replicates=1).cells}
    assert all(
        any(one == embedded or f"of={embedded}" in one for embedded in EMBEDDED) for one in data
    )
