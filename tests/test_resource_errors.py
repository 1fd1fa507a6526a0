"""Lack of memory and errors of a GPU: they cost one cell, are told in words, and the process that
had them trains nothing more.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_session import fanin
from faults.harness import STAND_IN, cell, plan_of
from user_code_files import write_file

from fanin.cell.result import Result
from fanin.execution.events import Event, WorkerLost
from fanin.execution.process_limits import count_oom_kills
from fanin.execution.resource_errors import explain_resource_error
from fanin.execution.runner import run_plan
from fanin.store.results_store import read

# --- in words -------------------------------------------------------------------------------------

ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronous"
FULL = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 9.00 GiB"


@pytest.mark.parametrize(
    ("error", "begin"),
    [
        (torch.OutOfMemoryError(FULL), "Not enough memory on the GPU (CUDA out of memory. Tried"),
        (RuntimeError(FULL), "Not enough memory on the GPU"),
        (RuntimeError("CUDA error: out of memory"), "Not enough memory on the GPU"),
        (
            RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
            "Not enough memory on the GPU",
        ),
        (RuntimeError(ASSERT), "The GPU reported an error (CUDA error: device-side assert"),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
            "The GPU reported an error (cuDNN error: CUDNN_STATUS_EXECUTION_FAILED)",
        ),
        (MemoryError(), "Not enough memory. Free some"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
            "Not enough memory (DefaultCPUAllocator",
        ),
        (ValueError("a mistake in the model"), ""),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ""),
    ],
    ids=lambda value: str(value)[:30] or "nothing",
)
def test_what_a_gpu_or_a_lack_of_memory_is_behind_is_known(error: Exception, begin: str) -> None:
    text = explain_resource_error(error)
    assert text.startswith(begin)
    assert bool(text) == bool(begin)
    assert "\n" not in text


def test_so_is_an_error_that_such_a_one_led_to() -> None:
    first, second = RuntimeError(ASSERT), KeyError("state")
    second.__context__ = first
    assert explain_resource_error(second) == explain_resource_error(first)


# --- a GPU that is not there ----------------------------------------------------------------------

# After its first epoch the model raises what torch raises. A process with a failed assert is marked
# by a file, and every model fails in it, as every call of the GPU would.
GPU = """
import os, pathlib
import numpy as np, torch
from torch import nn

HERE = pathlib.Path(__file__).parent
TEXTS = {
    "broken": "CUDA error: device-side assert triggered",
    "full": "CUDA out of memory. Tried to allocate 20.00 GiB.",
}
KINDS = {"broken": getattr(torch, "AcceleratorError", RuntimeError), "full": torch.OutOfMemoryError}

def data():
    rows = np.random.RandomState(0).normal(size=(60, 6)).astype(np.float32)
    y = (rows[:, 0] > 0).astype(np.int64)
    return rows[:40], y[:40], rows[40:], y[40:]

class Net(nn.Module):
    def __init__(self, inputs, outputs, fault):
        super().__init__()
        self.layer, self.fault = nn.Linear(inputs, outputs), fault
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        broken = HERE / f"broken-{os.getpid()}"
        if broken.exists():
            raise KINDS["broken"](TEXTS["broken"])
        self.calls += 1
        if self.fault and self.calls > 15:
            if self.fault == "broken":
                broken.touch()
            raise KINDS[self.fault](TEXTS[self.fault])
        return self.layer(x)

def net(input_shape, outputs, fault=""):
    return Net(input_shape[0], outputs, fault)

def hoard(input_shape, outputs, gigabytes=0):
    return Hoard(input_shape[0], outputs, gigabytes)

class Hoard(nn.Module):
    def __init__(self, inputs, outputs, gigabytes):
        super().__init__()
        self.layer, self.gigabytes = nn.Linear(inputs, outputs), gigabytes
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        if self.gigabytes and self.calls > 15:
            torch.ones(self.gigabytes * 2**28)
        return self.layer(x)
"""

STUDY = """
question = "What becomes of the others?"
replicates = 1
[base]
data = "mine.py:data"
optimizer = "sgd"
batch_size = 8
epochs = 4
initializer = "he_normal"
[axes]
model = [{models}]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_file(tmp_path, GPU)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_study(*models: str) -> None:
    listed = ", ".join(f'"mine.py:{model}"' for model in models)
    Path("study.toml").write_text(STUDY.format(models=listed), encoding="utf-8")


def results_by_model(out: Path) -> dict[str, Result]:
    return {r.cell.model.partition(":")[2]: r for r in read(out).results.values()}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("broken", "The GPU reported an error (CUDA error: device-side assert triggered), after"),
        ("full", "Not enough memory on the GPU (CUDA out of memory. Tried to allocate 20.00 GiB)"),
    ],
)
def test_an_error_of_a_gpu_costs_its_cell_and_the_worker_is_replaced(
    home: Path, preloaded_workers: None, fault: str, says: str
) -> None:
    write_study(f"net(fault={fault})", "net")
    done = fanin("run", "study.toml", "--workers", 1, "--out", "out")
    assert done.code == 1, done.err
    found = results_by_model(home / "out")
    failed, other = found[f"net(fault={fault})"], found["net"]
    assert (failed.outcome, other.outcome) == ("failed", "ok"), other.message
    assert failed.reason.startswith(says)
    assert failed.message.startswith("Traceback")  # the line of the model is kept
    assert len(list(home.glob("broken-*"))) == (fault == "broken")
    shown = fanin("status", "out").out
    assert says in " ".join(shown.split())
    assert "mine.py" in shown
    assert done.err.count("killed") == 0


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_that_exceeds_a_real_limit_of_memory_costs_its_own_cell(home: Path) -> None:
    """A limit as ``ulimit -v`` sets it, for the command and its workers."""
    write_study("hoard(gigabytes=30)", "hoard")
    run = f"{sys.executable} -m fanin run study.toml --workers 1 --out out"
    done = subprocess.run(
        ["sh", "-c", f"ulimit -v {12 * 10**9 // 1024} && exec {run}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = results_by_model(home / "out")
    failed = found["hoard(gigabytes=30)"]
    assert (failed.outcome, found["hoard"].outcome) == ("failed", "ok")
    assert failed.reason.startswith("Not enough memory (")
    assert "12.0 GB of address space (ulimit -v)" in failed.reason


@pytest.fixture
def oom_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's count of processes that it has ended because memory was short."""
    count = tmp_path / "count"
    count.write_text("7")
    monkeypatch.setenv("STAND_IN_OOM_KILLS", str(count))
    monkeypatch.setattr("fanin.execution.executors.count_oom_kills", lambda: int(count.read_text()))
    return count


def test_a_worker_that_the_kernel_ends_for_memory_costs_its_own_cell(
    tmp_path: Path, oom_kills: Path
) -> None:
    cells = (cell("fills-memory"), cell(), cell(initializer="zero"))
    summary = run_plan(plan_of(*cells), tmp_path / "out", engine=STAND_IN, workers=1)
    assert (summary.counts, summary.exit_code) == ({"ok": 2, "killed": 1}, 1)
    message = read(tmp_path / "out").results[cells[0].id].message
    assert message == "the process was killed by SIGKILL (out of memory?) (2 times)"


def test_memory_is_no_guess_for_a_worker_that_was_killed_long_after_another_program(
    tmp_path: Path, oom_kills: Path
) -> None:
    """One worker trains both cells; what was ended during the first cannot explain the second."""
    cells = (cell("outlives-a-kill"), cell("kills-itself"))
    events = list[Event]()
    summary = run_plan(
        plan_of(*cells), tmp_path / "out", engine=STAND_IN, workers=1, on_event=events.append
    )
    assert summary.counts == {"ok": 1, "killed": 1}
    assert oom_kills.read_text() == "8"
    reasons = [event.reason for event in events if isinstance(event, WorkerLost)]
    assert reasons == ["the process was killed by SIGKILL"] * 2


@pytest.mark.skipif(not Path("/proc/vmstat").exists(), reason="reads /proc/vmstat")
def test_the_kernel_says_how_many_it_has_ended() -> None:
    assert count_oom_kills() is not None
