"""Studies from plain Python values: the same plan as the study file, and wrong types in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from combinations import for_each
from torch import nn

import fanin
from fanin.errors import FaninError
from fanin.experiment import load_study, make_plan
from fanin.study.study import Study

BASE = {"model": "mlp(widths=[4], activation=relu)", "data": "digits", "epochs": 2}
AXES = {"initializer": ["zero", "he_normal(mode=fan_out)"], "batch_size": [8, 12, 16]}
TOML = """
question = "Which?"
replicates = 2
[base]
model = "mlp(widths=[4], activation=relu)"
data = "digits"
epochs = 2
[axes]
initializer = ["zero", "he_normal(mode=fan_out)"]
batch_size = [8, 12, 16]
[[exclude]]
initializer = "zero"
batch_size = 8
"""
EXCLUDE = [{"initializer": "zero", "batch_size": 8}]


def list_ids(study: Any) -> list[str]:
    return [planned.cell.id for planned in make_plan(study).cells]


STUDIES: dict[str, Any] = {
    "a dict": {
        "name": "mine",
        "question": "Which?",
        "replicates": 2,
        "base": BASE,
        "axes": AXES,
        "exclude": EXCLUDE,
    },
    "axes of a Study": Study("mine", "Which?", base=BASE, axes=AXES, replicates=2, exclude=EXCLUDE),
    "grids of a Study": Study("mine", "Which?", BASE, [dict(AXES)], replicates=2, exclude=EXCLUDE),
    "ranges, tuples, arrays, initializers": Study(
        "mine",
        "Which?",
        BASE,
        axes={
            "initializer": ("zero", fanin.get("he_normal", mode="fan_out")),
            "batch_size": range(8, 20, 4),
        },
        replicates=2,
        exclude=({"initializer": ["zero"], "batch_size": np.array([8])},),
    ),
}


@for_each("name", STUDIES)
def test_plain_values_give_the_study_of_the_file(name: str) -> None:
    from_file = Study.from_toml(TOML, "mine")
    assert load_study(STUDIES[name]) == from_file
    assert list_ids(STUDIES[name]) == list_ids(from_file)


def test_a_study_from_plain_values_survives_its_file_and_a_replacement() -> None:
    study = load_study(STUDIES["a dict"])
    assert Study.from_toml(study.to_toml(), "mine") == study
    assert study.override(replicates=5).replicates == 5


def test_a_study_can_be_the_path_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    assert list_ids(path) == list_ids(str(path)) == list_ids(STUDIES["a dict"])


def test_a_tuning_can_be_a_dict() -> None:
    study = Study("x", base=BASE, axes=AXES, tuning={"learning_rate": [0.1, 0.01]})  # type: ignore[arg-type]
    assert study.tuning is not None
    assert study.tuning.rates == (0.01, 0.1)
    assert load_study({"base": BASE, "axes": AXES, "tune": {"learning_rate": [1, 0.1]}}).tuning


WRONG: dict[str, tuple[Any, str]] = {
    "a number": (5, "A study is a name such as 'quick'"),
    "a list": (["quick"], "received ['quick']"),
    "fields of a cell in the head": ({"model": "mlp"}, "model is no key of the head"),
    "an unknown key": ({"bse": {}}, "Did you mean base"),
    "an axis that is no list": ({"base": BASE, "axes": {"initializer": "zero"}}, "must be a list"),
    "a set": ({"base": BASE, "axes": {"initializer": {"zero"}}}, "axes.initializer is a set"),
    "a key that is no text": ({"base": {3: 1}}, "The keys of base are text"),
    "a base that is a list": ({"base": [BASE]}, "base: expected a mapping of keys to values"),
    "a question that is a number": ({"question": 5}, "question: expected text; received 5"),
    "replicates as text": ({"replicates": "3"}, "replicates: expected a valid integer"),
    "a torch function": (
        {"base": BASE, "axes": {"initializer": [nn.init.zeros_]}},
        "Your own function is written my_file.py:make.",
    ),
    "a module": (
        {"base": {**BASE, "model": nn.Identity()}, "axes": AXES},
        "model must be a name or a spec",
    ),
    "lr": ({"base": {**BASE, "lr": 0.1}}, "Did you mean learning_rate?"),
    "nothing": ({}, "A cell needs model and data and initializer"),
    "a name that is a path": ({"name": "../x", "base": BASE}, "cannot name a study"),
    "a name that is a number": ({"name": 3}, "The name of a study is text, not 3."),
}


@for_each("name", WRONG)
def test_a_wrong_type_is_refused_in_words(name: str) -> None:
    study, says = WRONG[name]
    with pytest.raises(FaninError) as caught:
        make_plan(study)
    assert says in str(caught.value)


def test_a_name_never_leads_out_of_the_folder_of_runs() -> None:
    for name in ("..", ".", "", "/tmp", "a/b", "a\\b", "a\x1bb", "x" * 200):
        with pytest.raises(FaninError, match="cannot name a study"):
            Study(name)
