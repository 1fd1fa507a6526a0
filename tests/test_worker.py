"""The worker process and what it says: JSON lines, and death with the pipe."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.harness import (
    FINGERPRINT,
    STAND_IN,
    cell,
    eventually,
    import_path,
    plan_of,
    processes_of,
    run,
    stored,
)

from fanin.errors import DataError, FaninError, UsageError
from fanin.execution.executors import WorkerExit
from fanin.execution.messages import (
    CellDone,
    CellStopped,
    EpochDone,
    Ready,
    Refused,
    SetUp,
    Stop,
    Train,
    decode,
    encode,
)

MESSAGES = [
    SetUp("cpu", None, [cell().to_json()]),
    Train(cell().to_json(), "/out/ü/checkpoints", 0.0, None),
    Stop(),
    Ready({"device": "a CPU"}, "default"),
    Refused("no", 2),
    EpochDone("0123", {"epoch": 1, "loss": math.inf}),
    CellDone({"outcome": "ok"}, 0),
    CellStopped("0123"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_from_one_line(message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"hello\n",
        b"[]\n",
        b"3\n",
        b'{"is": "Finished"}\n',
        b'{"is": "exec"}\n',
        b'{"is": []}\n',
        b"\x80\x04.",
        b"[" * 10**5,
    ],
)
def test_anything_else_is_no_message(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(line)


@pytest.mark.parametrize(
    ("exit_code", "kind"), [(2, UsageError), (4, DataError), (1, FaninError), (3, FaninError)]
)
def test_a_refusal_is_raised_as_the_kind_of_error_that_the_worker_met(
    exit_code: int, kind: type[FaninError]
) -> None:
    assert type(Refused("why", exit_code).to_error()) is kind


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (3, "exit status 3"),
        (-9, "killed by SIGKILL"),
        (-60, "killed by signal 60"),
        (-11, "killed by SIGSEGV"),
    ],
)
def test_how_a_process_ended_is_said_in_words(status: int, text: str) -> None:
    assert str(WorkerExit(status, "")).endswith(text)


def worker(**options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "fanin.execution.worker", "--engine", STAND_IN]
    environment = {**os.environ, "PYTHONPATH": import_path()}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )


@pytest.mark.parametrize("session", [True, False])
def test_a_worker_kills_its_own_group_and_no_other_when_its_pipe_ends(session: bool) -> None:
    with worker(start_new_session=session) as process:
        process.stdin.write(encode(SetUp("cpu", None, [])))
        process.stdin.flush()
        assert isinstance(decode(process.stdout.readline()), Ready)
        process.stdin.close()
        assert process.wait(10) == -signal.SIGKILL


def test_a_worker_whose_runner_no_longer_listens_dies_with_what_it_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FINGERPRINT, str(tmp_path))
    with worker(start_new_session=True) as process:
        process.stdin.write(encode(SetUp("cpu", "default", [])))
        process.stdin.write(
            encode(Train(cell("forks", epochs=10**6).to_json(), str(tmp_path), 0.0, None))
        )
        process.stdin.flush()  # and stays open: what is lost here is the other pipe
        eventually(lambda: len(processes_of(tmp_path)) == 2)
        process.stdout.close()
        assert process.wait(10) == -signal.SIGKILL
        eventually(lambda: not processes_of(tmp_path))


def test_a_worker_speaks_only_messages_whatever_the_model_prints(tmp_path: Path) -> None:
    with worker(stderr=subprocess.PIPE) as process:
        process.stdin.write(encode(SetUp("cpu", "default", [])))
        process.stdin.write(encode(Train(cell("dies").to_json(), str(tmp_path), 0.0, None)))
        process.stdin.flush()  # and stays open: its end would end the worker
        output, errors = process.stdout.read(), process.stderr.read()
    assert [type(decode(line)) for line in output.splitlines(keepends=True)] == [Ready, EpochDone]
    assert b"last words" in errors


def test_a_script_at_its_top_level_trains_whatever_lies_in_the_folder_it_is_run_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "torch", "fanin", "random"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(plan_of(cell()), tmp_path / "out")
    assert (code, errors) == (0, "")
    assert len(stored(tmp_path / "out")) == 1


def test_progress_is_one_json_object_that_names_the_runner(tmp_path: Path) -> None:
    from fanin.store.progress_file import ProgressFile, RunningCell, RunProgress, read_progress

    file = ProgressFile(tmp_path / "progress.json")
    assert file.is_due()
    progress = RunProgress(17, 6, 2, (RunningCell("0123", "mlp on digits", 1, 3),), 12.0, None)
    file.write(progress)
    assert not file.is_due()
    assert json.loads((tmp_path / "progress.json").read_text())["pid"] == 17
    assert read_progress(tmp_path / "progress.json") == progress
    (tmp_path / "progress.json").write_text('{"pid": ')
    assert read_progress(tmp_path / "progress.json") is None
    file.remove()
    assert read_progress(tmp_path / "progress.json") is None
