"""Which folder a study's results go to, what is removed there, and where user components are
found.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_session import fanin as run_command
from combinations import for_each
from study_cases import plan_of, results_of

import fanin
from fanin.report.results import Results
from fanin.store.results_folder import choose_folder, claim_folder
from fanin.study.study import Study

MODEL = """
from torch import nn

def make(input_shape, outputs, *, width=WIDTH):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, outputs))
"""
STUDY = """
[base]
data = "digits"
model = "my_model.py:make"
epochs = 1
[axes]
initializer = ["INIT"]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_study(folder: str, width: int = 3, initializer: str = "zero") -> Path:
    """A study with a model beside it."""
    path = Path(folder) / "mine.toml"
    path.parent.mkdir(exist_ok=True)
    path.with_name("my_model.py").write_text(MODEL.replace("WIDTH", str(width)))
    path.write_text(STUDY.replace("INIT", initializer))
    return path


def test_a_file_is_looked_up_beside_the_study_first_then_in_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    study = write_study("studies", 5)
    beside = Study.load(study).plan().cells[0].cell
    Path("my_model.py").write_text(MODEL.replace("WIDTH", "9"))
    assert Study.load(study).plan().cells[0].cell == beside
    monkeypatch.chdir(home / "studies")
    assert Study.load("mine.toml").plan().cells[0].cell.id == beside.id
    monkeypatch.chdir(home)
    (home / "studies" / "my_model.py").unlink()
    assert Study.load(study).plan().cells[0].cell.sources != beside.sources
    Path("my_model.py").unlink()
    with pytest.raises(fanin.FaninError, match="the folder of the study file, or else at the work"):
        Study.load(study).plan()


def test_workers_find_the_file_beside_the_study(preloaded_workers: None) -> None:
    results = fanin.run(write_study("studies"), workers=1)
    assert results.outcomes == {"ok": 1}
    assert (Path("runs/mine/belongs-to")).read_text() == "../../studies/mine.toml\n"


@pytest.mark.filterwarnings("default")
def test_two_study_files_of_one_name_do_not_share_a_folder(preloaded_workers: None) -> None:
    first, second = write_study("a"), write_study("b", initializer="he_normal")
    assert run_command("run", first, "--workers", 1).code == 0
    done = run_command("run", second, "--workers", 1)
    assert done.code == 0
    assert "runs/mine holds the results of another study of this name" in done.err
    assert "runs/mine-2/report.html" in done.out
    assert "--dry-run" not in done.err
    again = run_command("run", first, "--workers", 1)
    assert "nothing was trained" in again.out
    assert "runs/mine/report.html" in again.out
    assert again.err == ""
    assert not Path("runs/mine-3").exists()
    assert "runs/mine-2" in run_command("run", second, "--dry-run", "--json").out


def test_a_folder_stays_with_its_study_when_both_move(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "old").mkdir()
    monkeypatch.chdir(home / "old")
    Path("s.toml").write_text("")
    claim_folder(Path("runs/s"), Path("s.toml").absolute())
    monkeypatch.chdir(home)
    shutil.move("old", "new")
    monkeypatch.chdir(home / "new")
    assert choose_folder(None, "s", Path("s.toml").absolute()) == Path("runs/s")
    Path("other").mkdir()
    shutil.move("s.toml", "other/s.toml")  # the old file is gone, so its folder is free
    assert choose_folder(None, "s", Path("other/s.toml").absolute()) == Path("runs/s")
    Path("s.toml").write_text("")
    assert choose_folder(None, "s", Path("other/s.toml").absolute()) == Path("runs/s-2")


@for_each("out", ["mine", Path("elsewhere")])
def test_a_folder_that_the_user_names_is_taken_as_it_is(out: str | Path) -> None:
    assert choose_folder(out, "s", Path("/somewhere/s.toml")) == Path(out)


def test_a_built_in_study_and_a_file_of_its_name_do_not_share_a_folder() -> None:
    claim_folder(Path("runs/quick"), None)
    assert choose_folder(None, "quick", None) == Path("runs/quick")
    assert choose_folder(None, "quick", Path("quick.toml").absolute()) == Path("runs/quick-2")


def test_figures_of_an_earlier_plan_are_removed_from_a_results_folder(home: Path) -> None:
    plan = plan_of([("mlp", "digits"), ("cnn", "digits")], ("zero", "orthogonal"))
    results = Results(plan, results_of(plan), home)
    stale = ["figure-1-test-accuracy-by-depth.png", "figure-7-x.svg", f"figures/{'0' * 16}.png"]
    kept = ["figure.png", "figure-1.png", "my-figure-1-a.png", "figures/notes.png", "curves.png"]
    cell = f"figures/{plan.cells[0].cell.id}.png"
    (home / "figures").mkdir()
    for name in (*stale, *kept, cell):
        (home / name).write_text("x")
    results.figures()
    assert [name for name in (*stale, *kept, cell) if not (home / name).exists()] == []
    (home / "results.sqlite").write_text("x")
    written = results.figures()
    assert [name for name in (*kept, cell) if not (home / name).exists()] == []
    assert [name for name in stale if (home / name).exists()] == []
    assert written
    assert all(path.is_file() for path in written)
