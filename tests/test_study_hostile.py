"""Hostile studies: names that are paths, labels that no file can hold, numbers that are none. All
are refused in words before anything is written, or are names and nothing more.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from combinations import for_each

from fanin import experiment
from fanin.errors import FaninError

BASE = {"data": "digits", "model": "mlp(widths=[8], activation=relu)", "epochs": 1}


def plan(**changes: Any) -> int:
    """The number of cells of a study of one cell, changed."""
    base = {**BASE, **{k: v for k, v in changes.items() if k not in ("name", "label", "seed")}}
    initializer = {"label": changes.get("label", "zero"), "use": "zero"}
    study = {
        "name": changes.get("name", "mine"),
        "replicates": 1,
        "seed": changes.get("seed", 0),
        "base": base,
        "axes": {"initializer": [initializer]},
    }
    return len(experiment.estimate(study).plan.cells)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"the name {name[:20]!r}": ({"name": name}, "cannot name a study")
        for name in (
            "../x",
            "a/b",
            "..",
            ".",
            "",
            "x" * 300,
            "a\0b",
            "/etc/passwd",
            "a\nb",
            "\x1b[31m",
        )
    },
    "a label with a NUL": ({"label": "a\0b"}, "a label has 1 to 80 printable characters"),
    "a label with an escape": ({"label": "\x1b[31m"}, "a label has 1 to 80 printable characters"),
    "a label of 300 characters": ({"label": "x" * 300}, "a label has 1 to 80 printable characters"),
    "a label of none": ({"label": ""}, "a label has 1 to 80 printable characters"),
    "no number of epochs": ({"epochs": math.nan}, "epochs must be a whole number from 1"),
    "infinitely many epochs": ({"epochs": math.inf}, "epochs must be a whole number from 1"),
    "epochs without end": ({"epochs": 10**30}, "epochs must be a whole number from 1"),
    "a batch of a trillion": ({"batch_size": 10**12}, "batch_size must be a whole number from 1"),
    "a rate that is no number": ({"learning_rate": math.nan}, "must be a positive number, not nan"),
    "an infinite rate": ({"learning_rate": math.inf}, "must be a positive number, not inf"),
    "a negative rate": ({"learning_rate": -1.0}, "must be a positive number, not -1.0"),
    "a limit that is no number": ({"clip_norm": math.nan}, "clip_norm must be a positive number"),
    "a negative seed": ({"seed": -1}, "seed: expected greater than or equal to 0"),
    "a seed beyond 63 bits": ({"seed": 2**70}, "seed: expected less than or equal to"),
    "a seed that is no number": ({"seed": math.nan}, "seed: expected a valid integer"),
    "an object of Python": ({"model": "!!python/object:os.system"}, "is not a spec"),
}


@for_each("case", list(REFUSED))
def test_a_hostile_study_is_refused_in_words(case: str) -> None:
    changes, says = REFUSED[case]
    with pytest.raises(FaninError, match=says):
        plan(**changes)


@pytest.mark.parametrize("name", ["🦊", "-rf", "结果", "a b", "<script>"])
def test_a_strange_name_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan(name=name, label=name) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_is_a_path_writes_no_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloaded_workers: None
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    experiment.run(
        {
            "name": "mine",
            "replicates": 1,
            "base": BASE,
            "axes": {"initializer": [{"label": "../../x", "use": "zero"}]},
        },
        workers=1,
        save_weights=True,
    ).report()
    outside = {p.relative_to(tmp_path) for p in tmp_path.rglob("*")} - {
        p.relative_to(tmp_path) for p in (tmp_path / "a" / "b" / "runs").rglob("*")
    }
    assert outside == {Path("a"), Path("a/b"), Path("a/b/runs")}
