"""A cell that is missing at the end is never passed over: the run says so and does not exit 0."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from cli_session import TINY, fanin
from faults.harness import STAND_IN, cell, plan_of

from fanin import experiment
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.execution import run_summary
from fanin.execution.cell_queue import CellQueue
from fanin.execution.events import Event, WorkerLost
from fanin.execution.run_summary import RunSummary
from fanin.execution.runner import run_plan
from fanin.store.results_store import Store, read

TUNED = f"{TINY}\n[tune]\nlearning_rate = [0.001, 0.003]\nreplicates = 1\n"
AGAIN = "Repeat the command to train"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "tuned.toml").write_text(TUNED)
    return tmp_path


def lose_when_queued(monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    """The queue of cells drops those with these fields, as a mistake in a queue would."""
    fill = CellQueue.fill

    def leave_out(self: CellQueue, cells: Iterable[Cell]) -> None:
        fill(self, (c for c in cells if any(getattr(c, k) != v for k, v in fields.items())))

    monkeypatch.setattr(CellQueue, "fill", leave_out)


def test_a_worker_that_gives_a_cell_back_has_lost_it(tmp_path: Path) -> None:
    events, lost = list[Event](), cell("vanishes")
    plan = plan_of(cell(), lost, cell(initializer="zero"))
    summary = run_plan(plan, tmp_path / "out", engine=STAND_IN, workers=1, on_event=events.append)
    assert summary == RunSummary({"ok": 2, "killed": 1}, trained=3, exit_code=1)
    assert [e.retried for e in events if isinstance(e, WorkerLost)] == [True, False]
    assert read(tmp_path / "out").results[lost.id].message == (
        "its worker gave it back without a result, which nobody had asked for (2 times)"
    )


def test_a_cell_that_was_never_given_to_a_worker_is_told(
    study: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_when_queued(monkeypatch, initializer="zero")
    done = fanin("run", "tiny.toml", "--out", "out", "--workers", 1)
    assert done.code == 1
    assert "Error: 1 of 2 cells have no result, and nothing says why: mlp" in done.err
    assert "zero, rate 0.001, replicate 0" in done.err
    assert AGAIN in done.err
    assert "Some cells failed" not in done.err
    monkeypatch.undo()
    monkeypatch.chdir(study)
    assert fanin("run", "tiny.toml", "--out", "out", "--workers", 1).code == 0


def test_a_result_that_never_reached_the_store_is_told(
    study: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the runner has counted, what is not in the store is not done."""
    add = Store.add

    def forget(self: Store, result: Result) -> int:
        return 1 if result.cell.initializer == "zero" else add(self, result)

    monkeypatch.setattr(Store, "add", forget)
    done = fanin("run", "tiny.toml", "--out", "out", "--workers", 1, "--json")
    assert done.code == 1
    assert done.record["outcomes"] == {"ok": 1, "missing": 1}
    assert [problem[:31] for problem in done.record["problems"]] == [
        "1 of 2 cells have no result, an"
    ]


def test_a_missing_trial_of_the_learning_rate_is_told(
    study: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_when_queued(monkeypatch, initializer="he_normal", learning_rate=0.001, tuned=False)
    monkeypatch.setattr("fanin.study.learning_rate_tuning.MAX_EXTENSIONS", 0)
    done = fanin("run", "tuned.toml", "--out", "out", "--workers", 1)
    assert done.code == 1
    assert "Error: 1 of 4 trainings that tune the learning rate have no loss" in done.err
    assert "he_normal, rate 0.001, replicate 0. Repeat" in done.err
    assert experiment.load_results("out").outcomes == {"ok": 2}


def test_a_trial_that_failed_is_told_with_its_reason() -> None:
    plan = plan_of(cell(), cell(initializer="zero"))
    trials = plan.to_tuning_plan(plan.cells)
    failed, good = (planned.cell for planned in plan.cells)
    stored = {
        failed.id: Result(cell=failed, outcome="failed", message="Too large."),
        good.id: Result(cell=good, outcome="ok"),
    }
    stages: list[tuple[Plan, RunSummary]] = [
        (trials, RunSummary({"failed": 1, "ok": 1}, trained=2, exit_code=1)),
        (plan_of(good), RunSummary({"ok": 1}, trained=1, exit_code=0)),
    ]
    summary = run_summary.sum_up(stages, stored)
    assert (summary.trained, summary.exit_code, dict(summary.counts)) == (3, 1, {"ok": 1})
    (problem,) = summary.problems
    assert "replicate 0, failed: Too large. Repeat the command" in problem


def test_nothing_is_said_of_a_run_that_is_complete() -> None:
    plan = plan_of(cell())
    stored = {cell().id: Result(cell=cell(), outcome="diverged")}
    summary = RunSummary({"diverged": 1}, trained=1, exit_code=0)
    assert run_summary.sum_up([(plan, summary)], stored) == summary
