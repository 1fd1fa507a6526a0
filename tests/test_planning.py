"""Planning a study that names user code: in a process of its own, whatever that code does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from cli_session import TINY, fanin
from combinations import for_each

from fanin import experiment
from fanin.errors import StudyError, UserCodeError
from fanin.execution.executors import shorten_output
from fanin.execution.messages import NoAnswer
from fanin.execution.planning import Planner, names_user_code
from fanin.study.study import Study

MAKE = """
import torch
def make(shape, outputs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, outputs))
"""

ENDS = {
    "exits on import": ("import os; os._exit(0)", "exit status 0"),
    "exits when it is called": (
        "import os\ndef make(shape, outputs): os._exit(0)",
        "exit status 0",
    ),
    "crashes": ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
    "prints, then exits": ("import os; os.write(1, b'last words'); os._exit(3)", "last words"),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloaded_workers: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_study(code: str, name: str = "mine") -> str:
    Path(f"{name}.py").write_text(code)
    text = TINY.replace("mlp(widths=[8], activation=relu)", f"{name}.py:make")
    Path(f"{name}.toml").write_text(text.replace("epochs = 2", "epochs = 1"))
    return f"{name}.toml"


@for_each("case", ENDS)
def test_code_that_ends_its_process_ends_no_runner_and_is_named(case: str) -> None:
    code, words = ENDS[case]
    done = fanin("run", write_study(code), "--out", "out", "--json")
    assert done.code == 2
    error = done.record["error"]
    assert error["type"] == "UserCodeError"
    assert "mine.py:make" in error["message"]
    assert words in error["message"]
    assert not Path("out").exists()


def test_code_that_prints_and_sets_threads_on_import_changes_nothing_and_stays_out_of_here() -> (
    None
):
    before, threads = set(sys.modules), torch.get_num_threads()
    noise = (
        "import os, sys, torch\ntorch.set_num_threads(2)\nsys.modules['planted'] = sys\n"
        "os.write(1, b'noise')\nprint('more noise')\n"
    )
    noisy, calm = write_study(noise + MAKE, "noisy"), write_study(MAKE, "calm")
    losses = {}
    for name, file, workers in (("noisy", noisy, 2), ("calm", calm, 1)):
        found = experiment.run(file, name, workers=workers).results.values()
        assert {(r.outcome, r.environment["threads"]) for r in found} == {("ok", 1)}
        losses[name] = sorted((r.cell.initializer, r.history["loss"]) for r in found)
    assert losses["noisy"] == losses["calm"]
    assert not any("user_code_" in name or "planted" in name for name in set(sys.modules) - before)
    assert torch.get_num_threads() == threads


def test_the_plan_of_another_process_is_the_plan_of_this_one() -> None:
    study = Study.load(write_study(MAKE))
    assert experiment.make_plan(study, replicates=2, only={"initializer": "zero"}) == study.plan(
        replicates=2, only={"initializer": ["zero"]}
    )


def test_a_mistake_keeps_its_class_and_its_line() -> None:
    with pytest.raises(UserCodeError, match=r"Study mine, line 9 .*ZeroDivisionError.*line 1"):
        experiment.make_plan(write_study("1 / 0"))
    study = Path(write_study(MAKE))
    study.write_text(study.read_text().replace("[base]", "[base]\nbatch_size = 5000"))
    with pytest.raises(StudyError, match=r"Study mine, line 5 .*batch_size"):
        experiment.make_plan(str(study))
    missing = NoAnswer("MissingExtra", "It needs pandas.", []).to_error()
    assert (type(missing).__name__, str(missing)) == ("MissingExtra", "It needs pandas.")


def test_a_study_without_user_code_is_planned_here() -> None:
    with Planner(Study.load("quick")) as planner:
        assert not planner.is_apart
        assert planner.ask(json.dumps, obj=1) == "1"
        planner.plan()
        assert planner._worker is None


def test_references_are_seen_wherever_they_are() -> None:
    assert names_user_code(["zero", "a.py:make(x=1)"])
    assert names_user_code({"use": "rows(of=a.py:make)"})
    assert not names_user_code(["he_normal(mode=fan_out)", 0.1, None])


def test_of_a_crash_the_place_is_shown_and_no_list_of_modules() -> None:
    report = (
        "before\nFatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n"
        '  File "worker.py", line 1 in listen\n\nCurrent thread 0x2 (most recent call first):\n'
        '  File "mine.py", line 7 in forward\n' + '  File "deep.py", line 1 in call\n' * 50 + "\n"
        "Extension modules: numpy._core, torch._C (total: 2)\n"
    )
    lines = shorten_output(report).splitlines()
    assert lines[:3] == [
        "before",
        "Fatal Python error: Segmentation fault",
        '  File "mine.py", line 7 in forward',
    ]
    assert len(lines) < 10
    assert "modules" not in lines[-1]
