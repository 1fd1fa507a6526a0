"""Whatever dies, and whenever: no finished cell is lost, the same command continues, the numbers
are the same bit for bit.

These tests run a stand-in engine, whose epochs take milliseconds, in real runner and worker
processes; `test_faults_training.py` does the same with real training.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from faults.harness import (
    cell,
    eventually,
    finish,
    import_path,
    plan_of,
    processes_of,
    run,
    start,
    stored,
)

from fanin.cell.result import SETTLED
from fanin.crash_points import AT, ONCE, POINTS
from fanin.store.results_store import Store, read
from fanin.store.verify import verify

PLAN = plan_of(*(cell(initializer=f"init_{i}", epochs=4) for i in range(6)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, _, errors = run(PLAN, out, workers=1)
    assert (code, errors) == (0, "")
    return stored(out)


def worker_of(out: Path) -> int:
    """A worker process of the run in `out`."""
    return eventually(
        lambda: next(
            (
                p
                for p in processes_of(out)
                if b"fanin.execution.worker" in Path(f"/proc/{p}/cmdline").read_bytes()
            ),
            None,
        )
    )


def no_process_of(out: Path) -> bool:
    return eventually(lambda: not processes_of(out), 10)


def test_two_workers_give_what_one_gives(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    assert run(PLAN, tmp_path / "out", workers=2)[0] == 0
    assert stored(tmp_path / "out") == undisturbed
    assert no_process_of(tmp_path / "out")


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_crash_point_and_started_again_the_run_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: dict[str, Any], point: str
) -> None:
    out = tmp_path / "out"
    passes_once = ("store.before_created", "runner.after_plan", "worker.after_setup")
    code, _, _ = run(
        PLAN, out, env={AT: point if point in passes_once else f"{point}:2", ONCE: str(tmp_path)}
    )
    assert (tmp_path / point).exists()
    assert (
        code == (0 if point.startswith(("worker", "checkpoint")) else -signal.SIGKILL)
        or point == "file.before_replace"
    )
    assert no_process_of(out)
    before = read(out).results if (out / "results.sqlite").exists() else {}

    code, output, errors = run(PLAN, out)
    assert (code, errors) == (0, "")
    assert stored(out) == undisturbed
    trained_now = set(re.findall(r"CellFinished (\w+)", output))
    assert trained_now.isdisjoint(id for id, result in before.items() if result.outcome in SETTLED)
    assert set(read(out).attempts.values()) == {1}
    assert verify(out) == []
    assert list((out / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_twenty_times_at_random_moments_the_run_ends_as_if_undisturbed(
    tmp_path: Path, kills: int
) -> None:
    """`make test` kills five times only, where cells take less time."""
    plan = plan_of(*(cell(initializer=f"init_{i}", epochs=4) for i in range(16)))
    seconds = "0.1" if kills == 20 else "0.02"
    assert run(plan, tmp_path / "undisturbed")[0] == 0
    out, moments, before, started = tmp_path / "out", random.Random(0), set[str](), 0
    for _ in range(kills):
        (out / "progress.json").unlink(missing_ok=True)
        runner = start(plan, out, workers=2, env={"STAND_IN_SECONDS": seconds})
        if moments.random() < 0.7:  # the other moments are spent before any cell trains
            eventually((out / "progress.json").exists)
            started += 1
        time.sleep(moments.uniform(0, 0.3))
        runner.kill()
        _, output, _ = finish(runner)
        acknowledged = set(re.findall(r"CellFinished (\w+)", output))
        assert acknowledged.isdisjoint(before)  # never trained again
        stays = set(read(out).results) if (out / "results.sqlite").exists() else set()
        assert before | acknowledged <= stays  # never lost
        before = stays
    assert started > kills // 2
    # Cells ended before some of the kills, and there was work left for the last.
    assert kills < 20 or 3 < len(before) < 16
    assert run(plan, out)[0] == 0
    assert stored(out) == stored(tmp_path / "undisturbed")
    assert verify(out) == []
    assert no_process_of(out)


def test_a_killed_worker_costs_nothing_but_time(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    runner = start(PLAN, out, workers=2, env={"STAND_IN_SECONDS": "0.1"})
    eventually(lambda: list((out / "checkpoints").glob("*.json")))
    os.kill(worker_of(out), signal.SIGKILL)
    code, output, _ = finish(runner)
    assert code == 0
    assert output.count("WorkerLost") == 1
    assert stored(out) == undisturbed


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGUSR1, 138),
    ],
)
def test_the_first_signal_stops_at_a_checkpoint_and_the_same_command_continues(
    tmp_path: Path, undisturbed: dict[str, Any], number: signal.Signals, status: int
) -> None:
    out = tmp_path / "out"
    runner = start(PLAN, out, workers=2, env={"STAND_IN_SECONDS": "0.15"})
    eventually(lambda: list((out / "checkpoints").glob("*.json")))
    runner.send_signal(number)
    code, output, errors = finish(runner, timeout=8)  # the grace of 10 s is not needed
    assert code == status
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    assert "WorkerLost" not in output
    assert list((out / "checkpoints").glob("*.json"))
    assert no_process_of(out)
    assert not (out / "progress.json").exists()
    assert run(PLAN, out)[0] == 0
    assert stored(out) == undisturbed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_at_once(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    out = tmp_path / "out"
    runner = start(plan_of(cell(), cell("sleeps")), out, workers=2)
    eventually((out / "checkpoints" / f"{cell('sleeps').id}.json").exists)
    eventually(lambda: len(read(out).results) == 1)
    runner.send_signal(number)
    time.sleep(0.5)
    assert runner.poll() is None  # it waits for the cell that never ends its epoch
    began = time.monotonic()
    runner.send_signal(number)
    code, _, errors = finish(runner)
    assert time.monotonic() - began < 3
    assert (code, "Traceback" in errors) == (status, False)
    assert no_process_of(out)
    assert len(read(out).results) == 1
    assert verify(out) == []


def test_a_hangup_is_ignored_under_nohup(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    out = tmp_path / "out"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does: children inherit it
    try:
        runner = start(PLAN, out, workers=2, env={"STAND_IN_SECONDS": "0.05"})
    finally:
        signal.signal(signal.SIGHUP, before)
    eventually(lambda: list((out / "checkpoints").glob("*.json")))
    runner.send_signal(signal.SIGHUP)
    assert finish(runner)[0] == 0
    assert stored(out) == undisturbed


def test_time_in_which_runner_and_workers_are_frozen_does_not_count(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    runner = start(PLAN, out, workers=2, timeout=1.5, env={"STAND_IN_SECONDS": "0.3"})
    eventually(lambda: list((out / "checkpoints").glob("*.json")))
    frozen = [pid for pid in processes_of(out) if pid != runner.pid]
    for pid in (*frozen, runner.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3)
    # The runner wakes up first, as it may after a laptop was opened.
    for pid in (runner.pid, *frozen):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
    code, output, errors = finish(runner)
    assert (code, errors) == (0, "")
    assert "WorkerLost" not in output
    assert stored(out) == undisturbed


def test_a_signal_before_any_worker_is_ready_ends_cleanly(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start(PLAN, out)
    eventually(lambda: (out / "results.sqlite").exists())
    runner.send_signal(signal.SIGTERM)
    code, _, errors = finish(runner)
    assert (code, "Traceback" in errors) == (143, False)
    assert no_process_of(out)


def test_workers_and_what_they_forked_die_with_a_killed_runner(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start(plan_of(cell("hangs"), cell("forks", epochs=10**6)), out, workers=2)
    eventually(lambda: len(processes_of(out)) >= 5)  # runner, two workers, a child each
    runner.kill()
    finish(runner)
    assert no_process_of(out)


def test_of_four_runners_on_one_store_one_works_and_three_name_it(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    runners = [start(PLAN, out, workers=1, env={"STAND_IN_SECONDS": "0.15"}) for _ in range(4)]
    ends = [finish(runner) for runner in runners]
    assert sorted(code for code, _, _ in ends) == [0, 3, 3, 3]
    winner = next(runner for runner, (code, _, _) in zip(runners, ends, strict=True) if code == 0)
    for code, _, errors in ends:
        assert code == 0 or f"in use by process {winner.pid} on" in errors
        assert "locked" not in errors
    assert stored(out) == undisturbed
    assert set(read(out).attempts.values()) == {1}


def test_status_can_be_read_while_a_run_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start(PLAN, out, workers=2, env={"STAND_IN_SECONDS": "0.2"})
    eventually(lambda: (out / "progress.json").exists())
    snapshot = eventually(lambda: s if (s := read(out)).progress and s.progress.running else None)
    assert snapshot.holder is not None
    assert snapshot.holder.pid == snapshot.progress.pid == runner.pid
    assert snapshot.progress.total == 6
    assert snapshot.progress.running[0].description.startswith("good on digits, init_")
    runner.kill()
    finish(runner)
    assert read(out).holder is None
    assert read(out).progress is None  # though the file is still there


def test_a_full_disk_stops_the_run_and_the_same_command_continues(tmp_path: Path) -> None:
    out, plan = (
        tmp_path / "out",
        plan_of(*(cell(initializer=f"init_{i}", epochs=400) for i in range(8))),
    )
    rarely = {"checkpoint_interval": 1e9}
    (tmp_path / "sitecustomize.py").write_text(
        "import resource, sys\nif 'run_study.py' in sys.argv[0]:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))\n"
    )
    code, output, errors = run(
        plan,
        out,
        env={"PYTHONPATH": import_path(tmp_path), "STAND_IN_SECONDS": "0"},
        **rarely,
    )
    assert code == 3
    assert "disk full" in errors
    assert "Traceback" not in errors
    acknowledged = set(re.findall(r"CellFinished (\w+)", output))
    assert acknowledged
    assert set(read(out).results) == acknowledged
    assert verify(out) == []
    code, output, _ = run(plan, out, env={"STAND_IN_SECONDS": "0"}, **rarely)
    assert code == 0
    assert acknowledged.isdisjoint(re.findall(r"CellFinished (\w+)", output))
    assert len(read(out).results) == 8


def test_no_home_a_c_locale_and_a_folder_of_spaces_and_unicode_are_no_obstacle(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    out = tmp_path / "a b" / "ü 结果 '\""
    out.parent.mkdir()
    environment = {
        "LC_ALL": "C",
        "LANG": "C",
        "HOME": "/nowhere/at/all",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    code, _, errors = run(PLAN, out, env=environment)
    assert (code, errors) == (0, "")
    assert stored(out) == undisturbed


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, errors = run(PLAN, tmp_path / "file")
    assert code == 2
    assert re.fullmatch(r"Cannot write .*\n", errors)


def test_a_corrupted_store_stops_the_run_before_anything_is_changed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    Store.create_or_open(out).close()
    (out / "results.sqlite").write_bytes(b"x" * 5000)
    code, _, errors = run(PLAN, out)
    assert code == 3
    assert "cannot be used" in errors
    assert (out / "results.sqlite").read_bytes() == b"x" * 5000


def test_a_database_locked_by_another_program_is_waited_for(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    Store.create_or_open(out).close()
    other = sqlite3.connect(out / "results.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    runner = start(PLAN, out)
    time.sleep(1.5)
    assert runner.poll() is None
    other.execute("ROLLBACK")
    other.close()
    assert finish(runner)[0] == 0
    assert stored(out) == undisturbed
