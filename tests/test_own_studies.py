"""A built-in study becomes one's own: printed as TOML, or with further values of an axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_session import fanin as run_command
from combinations import for_each

import fanin
from fanin.errors import FaninError
from fanin.study.study import Study

INITIALIZER = """
import torch

def make(tensor, *, scale=0.1, generator):
    return tensor.normal_(0, scale, generator=generator)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def list_ids(study: Study, **options: Any) -> list[str]:
    return [planned.cell.id for planned in study.plan(replicates=1, **options).cells]


@for_each("name", fanin.names("studies"))
def test_the_toml_of_a_study_runs_the_same_plan(name: str) -> None:
    done = run_command("show", name, "--toml")
    assert done.code == 0
    assert run_command("show", f"studies:{name}", "--toml", "--json").record["toml"] == done.out
    path = Path(f"{name}.toml")
    path.write_text(done.out)
    own, original = Study.load(path), Study.load(name)
    assert own == original
    assert Study.from_toml(own.to_toml(), name) == original
    # All values of the last axis, and the first of every other: planning tries out each model.
    *others, _ = own.grids[0]
    first = {axis: [own.grids[0][axis][0].label] for axis in others}
    assert list_ids(own, only=first) == list_ids(original, only=first)


def test_only_studies_are_printed_as_toml() -> None:
    done = run_command("show", "he_normal", "--toml")
    assert done.code == 2
    assert "--toml is for studies; he_normal belongs to the initializers" in done.err


def test_an_initializer_of_ones_own_is_trained_beside_those_of_a_study(
    preloaded_workers: None,
) -> None:
    Path("my_init.py").write_text(INITIALIZER)
    less = ["--only", "model=mlp,initializer=zero,my_init.py:make(scale=0.2)"]
    less += ["--replicates", 1, "--max-epochs", 1, "--workers", 1]
    add = ["--add", "initializer=my_init.py:make(scale=0.2)"]
    done = run_command("run", "quick", *add, *less, "--json")
    assert done.code == 0, done
    assert done.record["trained"] == 2
    rows = done.record["table"]["rows"]
    names = [row["initializer"]["value"] for row in rows]
    assert names == ["zero", "my_init.py:make(scale=0.2)"]
    toml = Path("runs/quick/study.toml").read_text()
    assert "my_init.py:make(scale=0.2)" in toml


def test_the_cells_of_the_study_stay_the_same() -> None:
    study = Study.load("quick")
    added = study.add({"initializer": ["he_uniform"], "batch_size": [32]})
    assert set(list_ids(study)) < set(list_ids(added))
    assert len(list_ids(added)) == 2 * 2 * 7
    assert added.name == study.name
    assert study == Study.load("quick")


@for_each(
    "add, says",
    [
        ("initializer=zero", "has the value 'zero' already"),
        ("initalizer=he_uniform", "Did you mean initializer"),
        ("learning_rate=0.1", "No axis or base value of the study is called 'learning_rate'"),
        ("initializer=he_unifrm", "Did you mean he_uniform"),
        ("initializer", "--add takes key=value"),
        ("initializer=nowhere.py:make", "There is no file nowhere.py"),
        ("batch_size=many", "batch_size must be a whole number"),
    ],
)
def test_what_cannot_be_added_is_told(add: str, says: str) -> None:
    done = run_command("run", "quick", "--add", add, "--dry-run")
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_numbers_and_lists_are_read_as_such() -> None:
    study = Study("x", base={"model": "mlp", "data": "digits"}, axes={"initializer": ["zero"]})
    with pytest.raises(FaninError, match="initializer"):
        study.add({"initializer": "zero"})  # type: ignore[dict-item]
    done = run_command("run", "quick", "--add", "batch_size=32,epochs=3", "--dry-run", "--json")
    sizes = {cell["cell"].get("batch_size", 64) for cell in done.record["cells"]}
    assert sizes == {64, 32}
