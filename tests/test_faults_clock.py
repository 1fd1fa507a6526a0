"""The wall clock jumps by days while a study runs: nothing that is measured, waited for or stored
depends on it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_session import TINY, fanin
from faults import jumping_clock
from faults.harness import (
    cell,
    eventually,
    finish,
    import_path,
    numbers,
    plan_of,
    run,
    start,
    stored,
)

from fanin.execution.engine import DEFAULT_ENGINE, TrainingJob, load_engine
from fanin.store.progress_file import read_progress
from fanin.store.results_store import read
from fanin.store.verify import verify
from fanin.study.canonical_cell import make_cell

PLAN = plan_of(*(cell(initializer=f"init_{i}", epochs=4) for i in range(6)))


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables of a process whose wall clock jumps, and of its workers'."""
    folder = tmp_path_factory.mktemp("clock")
    jumping_clock.install(folder)
    return {"PYTHONPATH": import_path(folder)}


@pytest.fixture
def jumping_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock of this process jumps."""
    for module, names in (
        (time, ("time", "time_ns", "localtime", "gmtime", "strftime")),
        (os, ("replace", "rename")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    jumping_clock.jump()


def test_the_clock_of_these_tests_jumps(jumping: dict[str, str]) -> None:
    code = "import time; a = [time.time() for _ in range(9)]; print(min(a) - max(a))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **jumping},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < -8 * jumping_clock.DAY


def test_a_clock_that_jumps_during_a_run_changes_nothing(
    tmp_path: Path, jumping: dict[str, str]
) -> None:
    """No cell counts as hung, remaining time is that of the cells, a kill loses nothing."""
    out = tmp_path / "out"
    assert run(PLAN, tmp_path / "undisturbed", workers=1)[0] == 0
    slowly = {**jumping, "STAND_IN_SECONDS": "0.25"}
    began = time.monotonic()
    runner = start(PLAN, out, workers=2, timeout=5, env=slowly)
    found = eventually(lambda: (p := read_progress(out / "progress.json")) and p.eta and p)
    real = time.monotonic() - began
    assert 0 <= found.elapsed <= real
    assert 0 <= found.eta < 60
    holder = read(out).holder
    assert holder is not None
    assert holder.pid == runner.pid
    assert run(PLAN, out)[0] == 3  # by a clock that goes right, the lock is a month old or new
    eventually(lambda: list((out / "checkpoints").glob("*.json")))
    runner.send_signal(signal.SIGKILL)
    finish(runner)
    code, output, errors = run(PLAN, out, workers=2, timeout=5, env=slowly)
    assert (code, errors) == (0, "")
    assert "WorkerLost" not in output
    assert stored(out) == stored(tmp_path / "undisturbed")
    assert verify(out) == []


def test_a_cell_that_hangs_is_still_noticed_in_time(
    tmp_path: Path, jumping: dict[str, str]
) -> None:
    began = time.monotonic()
    plan = plan_of(cell("hangs"), cell())
    code, output, _ = run(plan, tmp_path / "out", workers=2, timeout=1, env=jumping)
    assert 2 <= time.monotonic() - began < 60  # it is tried twice
    assert (code, output.count("WorkerLost")) == (1, 2)
    messages = [result.message for result in read(tmp_path / "out").results.values()]
    assert sorted(messages) == ["", "no epoch ended for 1 s (2 times)"]


def test_a_signal_still_has_its_grace(tmp_path: Path, jumping: dict[str, str]) -> None:
    out = tmp_path / "out"
    runner = start(PLAN, out, workers=2, env={**jumping, "STAND_IN_SECONDS": "0.5"})
    eventually(lambda: list((out / "checkpoints").glob("*.json")))
    runner.send_signal(signal.SIGTERM)
    code, output, _ = finish(runner, timeout=9)
    assert (code, "WorkerLost" in output) == (143, False)


@pytest.mark.parametrize(("interval", "checkpoints"), [(3600.0, 0), (0.0, 5)])
def test_checkpoints_and_timings_follow_the_time_that_passes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jumping_here: None,
    interval: float,
    checkpoints: int,
) -> None:
    saved = list[Path]()
    monkeypatch.setattr(
        "fanin.training.train.save_checkpoint", lambda folder, *_: saved.append(folder)
    )
    began = time.monotonic()
    engine = load_engine(DEFAULT_ENGINE)
    engine.set_up("cpu", "default")
    result = engine.train(
        TrainingJob(
            cell=make_cell(
                {"data": "diabetes", "model": "regression", "initializer": "zero", "epochs": 5}
            ),
            checkpoints=tmp_path,
            checkpoint_interval=interval,
        ),
        lambda row: None,
        lambda: False,
    )
    real = time.monotonic() - began
    assert result is not None
    assert len(saved) == checkpoints
    names = {"data", "setup", "initialize", "train", "evaluate", "total"}
    assert set(result.timings) == names
    for seconds in (*result.timings.values(), *result.history["seconds"]):
        assert 0 <= seconds <= real
    assert sum(result.history["seconds"]) == pytest.approx(result.timings["train"])


def test_a_run_from_the_command_line_shows_and_stores_what_is_right(
    tmp_path: Path, jumping: dict[str, str], preloaded_workers: None
) -> None:
    """Lines of progress, remaining time, numbers and timings."""
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ["run", str(tmp_path / "tiny.toml"), "--workers", "1", "--out"]
    assert fanin(*words, tmp_path / "undisturbed").code == 0
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fanin", *words, "out", "--json"],
        cwd=tmp_path,
        env={**os.environ, **jumping},
        capture_output=True,
        text=True,
        check=False,
    )
    real = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trained"] == 2
    told = re.findall(r"about (\S+) (s|min|h|days) to go", done.stderr)
    assert all(unit == "s" and 0 <= float(n) <= real for n, unit in told), done.stderr
    found = read(tmp_path / "out").results.values()
    assert numbers(found) == stored(tmp_path / "undisturbed")
    timings: list[dict[str, Any]] = [result.timings for result in found]
    assert all(0 <= seconds <= real for times in timings for seconds in times.values())
