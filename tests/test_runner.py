"""The runner: what it trains, what it makes of users' code that misbehaves, what it tells."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faults.harness import FINGERPRINT, STAND_IN, cell, eventually, plan_of, processes_of, stored

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.errors import FaninError, StoreLocked, UsageError
from fanin.execution.events import (
    CellFinished,
    CellStarted,
    EpochFinished,
    Notice,
    RunStarted,
    WorkerLost,
)
from fanin.execution.executors import LOG_LIMIT
from fanin.execution.run_summary import RunSummary
from fanin.execution.runner import run_plan
from fanin.store.results_store import Snapshot, Store, read

MISBEHAVIOUR = [
    "raises",
    "raises-fanin",
    "exits",
    "dies",
    "kills-itself",
    "forks",
    "forks-and-goes-on",
    "forks-and-dies",
    "prints",
    "reads",
    "writes-to-descriptors",
    "closes-descriptors",
    "moves",
    "seeds",
    "diverges",
]


def run(plan: Plan, out: Path, **options: Any) -> tuple[RunSummary, list[Any]]:
    events = list[Any]()
    summary = run_plan(
        plan, out, **{"engine": STAND_IN, "workers": 2, "on_event": events.append, **options}
    )
    return summary, events


def outcome_of(snapshot: Snapshot, wanted: Cell) -> Result:
    return snapshot.results[wanted.id]


# What is trained


def test_the_same_command_again_trains_nothing_and_starts_no_worker(tmp_path: Path) -> None:
    plan = plan_of(cell(), cell(initializer="zero"))
    assert run(plan, tmp_path)[0] == RunSummary({"ok": 2}, trained=2, exit_code=0)
    summary, events = run(plan, tmp_path)
    assert summary == RunSummary({"ok": 2}, trained=0, exit_code=0)
    assert events == [RunStarted(2, 0, 0, {})]


def test_failed_and_killed_cells_are_tried_again_once_a_command_and_diverged_ones_never(
    tmp_path: Path,
) -> None:
    plan = plan_of(cell("raises"), cell("dies"), cell("diverges"))
    run(plan, tmp_path)
    summary, events = run(plan, tmp_path)
    assert summary == RunSummary({"failed": 1, "killed": 1, "diverged": 1}, trained=2, exit_code=1)
    started = [event.cell.model for event in events if isinstance(event, CellStarted)]
    assert sorted(started) == [
        "dies",
        "dies",
        "raises",
    ]  # a dead worker's cell is tried twice, an exception is final
    assert [event.retried for event in events if isinstance(event, WorkerLost)] == [True, False]
    assert read(tmp_path).attempts == {
        cell("raises").id: 2,
        cell("dies").id: 2,
        cell("diverges").id: 1,
    }


def test_a_plan_that_names_a_cell_twice_trains_it_once(tmp_path: Path) -> None:
    assert run(plan_of(cell(), cell()), tmp_path)[0].trained == 1


def test_a_folder_keeps_the_cells_of_earlier_plans(tmp_path: Path) -> None:
    run(plan_of(cell(epochs=2)), tmp_path)
    run(plan_of(cell(epochs=1)), tmp_path)
    snapshot = read(tmp_path)
    assert len(snapshot.results) == 2
    assert [planned.cell.epochs for planned, _ in snapshot.planned_results] == [1]


def test_a_block_that_is_half_done_goes_on_with_its_matmul_backend(tmp_path: Path) -> None:
    first, second = cell(), cell(initializer="zero")
    run(plan_of(first), tmp_path, matmul="slower")
    summary, _ = run(plan_of(first, second), tmp_path)
    assert summary.trained == 1
    found = read(tmp_path).results
    assert [found[one.id].environment["matmul"] for one in (first, second)] == ["slower", "slower"]
    run(plan_of(cell(epochs=1)), tmp_path)  # another block chooses again
    assert outcome_of(read(tmp_path), cell(epochs=1)).environment["matmul"] == "exact"


def test_a_block_begun_in_another_environment_is_trained_anew_unless_the_change_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, whole = plan_of(cell()), plan_of(cell(), cell(initializer="zero"))
    for name in ("anew", "accepted"):
        run(begun, tmp_path / name)
    monkeypatch.setenv("STAND_IN_ENGINE", "2")
    summary, events = run(whole, tmp_path / "anew")
    assert summary.trained == 2
    assert ["--accept-changed" in event.text for event in events if isinstance(event, Notice)] == [
        True
    ]
    assert run(whole, tmp_path / "anew")[0].trained == 0
    assert run(whole, tmp_path / "accepted", accept_changed=True)[0].trained == 1
    assert read(tmp_path / "accepted").attempts[cell().id] == 1


def test_bad_options_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    for options in (
        {"workers": 0},
        {"timeout": 0},
        {"timeout": math.nan},
        {"checkpoint_interval": -1},
    ):
        with pytest.raises(UsageError, match=next(iter(options))):
            run(plan_of(cell()), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# Users' code that misbehaves


@pytest.fixture(scope="module")
def misbehaved(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[RunSummary, list[Any], Snapshot, list[int]]:
    """One run of every misbehaviour, a good cell after each."""
    out = tmp_path_factory.mktemp("misbehaviour") / "out"
    cells = [c for model in MISBEHAVIOUR for c in (cell(model), cell(initializer=f"after_{model}"))]
    os.environ[FINGERPRINT] = str(out)
    try:
        summary, events = run(plan_of(*cells), out)
        return summary, events, read(out), processes_of(out)
    finally:
        del os.environ[FINGERPRINT]


def test_good_cells_are_untouched_by_the_bad_ones_around_them(misbehaved, tmp_path: Path) -> None:
    good = [cell(initializer=f"after_{model}") for model in MISBEHAVIOUR]
    run(plan_of(*good), tmp_path, workers=1)
    alone, among = stored(tmp_path), stored(misbehaved[2].path)
    assert {c.id: among[c.id] for c in good} == alone
    assert {record[0] for record in alone.values()} == {"ok"}


@pytest.mark.parametrize(
    "model",
    ["forks", "forks-and-goes-on", "prints", "reads", "writes-to-descriptors", "moves", "seeds"],
)
def test_what_does_no_harm_ends_ok(misbehaved, model: str) -> None:
    assert outcome_of(misbehaved[2], cell(model)).outcome == "ok"


@pytest.mark.parametrize(
    ("model", "outcome", "message"),
    [
        ("raises", "failed", "a mistake in the model"),
        ("raises-fanin", "failed", "The file is not what it should be."),
        ("exits", "failed", "SystemExit: enough"),
        (
            "dies",
            "killed",
            "the process ended with exit status 3 (2 times)\nLast output:\nlast words",
        ),
        ("kills-itself", "killed", "killed by SIGKILL (2 times)"),
        ("forks-and-dies", "killed", "exit status 4"),
        ("closes-descriptors", "killed", "SIGKILL"),
        ("diverges", "diverged", "loss was NaN"),
    ],
)
def test_what_does_harm_costs_its_own_cell_and_says_why(
    misbehaved, model: str, outcome: str, message: str
) -> None:
    result = outcome_of(misbehaved[2], cell(model))
    assert result.outcome == outcome
    assert message in result.message
    assert len(result.message) <= 10_001


def test_a_mistake_of_fanins_own_kind_shows_no_traceback_and_data_sets_the_exit_code(
    misbehaved,
) -> None:
    assert (
        outcome_of(misbehaved[2], cell("raises-fanin")).message
        == "The file is not what it should be."
    )
    assert misbehaved[0].exit_code == 4


def test_divergence_is_stored_exactly(misbehaved) -> None:
    loss = outcome_of(misbehaved[2], cell("diverges")).history["loss"]
    assert loss[0] == 1.0
    assert math.isnan(loss[1])
    assert loss[2] == -math.inf


def test_what_workers_print_is_kept_and_capped(misbehaved) -> None:
    logs = sorted((misbehaved[2].path / "logs").iterdir())
    assert [log.name for log in logs] == ["worker-1.log", "worker-2.log"]
    assert max(log.stat().st_size for log in logs) == LOG_LIMIT


def test_nothing_that_workers_forked_survives(misbehaved) -> None:
    assert misbehaved[3] == []


def test_a_hung_cell_is_killed_with_its_children_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FINGERPRINT, str(tmp_path))
    summary, events = run(
        plan_of(cell("hangs"), cell(), cell(initializer="zero")), tmp_path, timeout=0.5
    )
    assert summary == RunSummary({"ok": 2, "killed": 1}, trained=3, exit_code=1)
    assert outcome_of(read(tmp_path), cell("hangs")).message == (
        "no epoch ended for 0.5 s (2 times)"
    )
    assert [event.retried for event in events if isinstance(event, WorkerLost)] == [True, False]
    assert processes_of(tmp_path) == []


def test_a_model_that_takes_the_process_along_in_the_matmul_check_costs_no_other_cell(
    tmp_path: Path,
) -> None:
    summary, events = run(plan_of(cell("dies-in-check"), cell()), tmp_path)
    assert summary.counts["ok"] == 2  # the stand-in's model dies in the check only
    assert next(e for e in events if isinstance(e, RunStarted)).environment["matmul"] == "default"


# What cannot start


def test_a_device_that_cannot_be_used_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Device nowhere cannot be used"):
        run(plan_of(cell()), tmp_path, device="nowhere")
    assert read(tmp_path).results == {}


def test_an_engine_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(FaninError, match="No module named 'no_such_engine'"):
        run(plan_of(cell()), tmp_path, engine="no_such_engine:Engine")


def test_workers_that_die_at_the_start_end_the_run_after_three(tmp_path: Path) -> None:
    with pytest.raises(
        FaninError, match=r"Cannot start workers: the process ended with exit status 5"
    ):
        run(plan_of(cell()), tmp_path, engine="faults.stand_in:DiesAtStart")


def test_a_second_run_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with Store.create_or_open(tmp_path), pytest.raises(StoreLocked):
        run(plan_of(cell()), tmp_path)


# What it tells, and what it leaves


def test_every_cell_is_told_from_start_over_each_epoch_to_end(tmp_path: Path) -> None:
    _, events = run(plan_of(cell(), cell(initializer="zero")), tmp_path, workers=1)
    kinds = [type(event) for event in events]
    one = [CellStarted, EpochFinished, EpochFinished, EpochFinished]
    assert kinds[:5] == [RunStarted, *one]
    assert kinds.count(CellFinished) == 2
    assert [event.row["epoch"] for event in events if isinstance(event, EpochFinished)] == [
        1,
        2,
        3,
        1,
        2,
        3,
    ]
    assert events[0].workers == 1
    assert events[0].environment["device"] == "stand-in"
    assert [event.attempt for event in events if isinstance(event, CellFinished)] == [1, 1]


def test_a_finished_run_leaves_no_checkpoint_progress_or_lock(tmp_path: Path) -> None:
    run(plan_of(cell()), tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoints",
        "lock",
        "logs",
        "results.sqlite",
    ]
    assert read(tmp_path).holder is None


def test_an_observer_that_raises_ends_the_run_without_orphans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FINGERPRINT, str(tmp_path))

    def observe(event: object) -> None:
        if isinstance(event, EpochFinished):
            raise RuntimeError("display broken")

    with pytest.raises(RuntimeError, match="display broken"):
        run(plan_of(cell(), cell("hangs")), tmp_path, on_event=observe)
    assert processes_of(tmp_path) == []
    assert run(plan_of(cell()), tmp_path)[0].exit_code == 0


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run(plan_of(cell()), tmp_path)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_it_works_outside_the_main_thread(tmp_path: Path) -> None:
    summaries = list[RunSummary]()
    thread = threading.Thread(target=lambda: summaries.append(run(plan_of(cell()), tmp_path)[0]))
    thread.start()
    thread.join(20)
    assert summaries == [RunSummary({"ok": 1}, trained=1, exit_code=0)]


def test_a_relative_folder_is_meant_where_the_run_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(plan_of(cell("moves"), cell()), Path("out"), workers=1)
    assert {r.outcome for r in read(tmp_path / "out").results.values()} == {"ok"}


def test_a_worker_ignores_the_signals_that_its_runner_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FINGERPRINT, str(tmp_path))
    monkeypatch.setenv("STAND_IN_SECONDS", "0.1")
    signalled = list[int]()

    def signal_workers(event: object) -> None:
        if isinstance(event, EpochFinished) and not signalled:
            for process in processes_of(tmp_path):
                for number in (signal.SIGINT, signal.SIGTERM):
                    os.kill(process, number)
                    signalled.append(process)

    summary, _ = run(plan_of(cell(), cell(initializer="zero")), tmp_path, on_event=signal_workers)
    assert len(signalled) == 4
    assert summary.counts == {"ok": 2}


def test_an_idle_worker_that_dies_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FINGERPRINT, str(tmp_path))
    monkeypatch.setenv("STAND_IN_SECONDS", "0.1")

    def kill_idle(event: object) -> None:
        if isinstance(event, CellFinished) and event.result.cell.epochs == 1:
            time.sleep(0.02)
            os.kill(eventually(lambda: min(processes_of(tmp_path))), signal.SIGKILL)

    summary, _ = run(plan_of(cell(epochs=1), cell(epochs=8)), tmp_path, on_event=kill_idle)
    assert summary.counts == {"ok": 2}
