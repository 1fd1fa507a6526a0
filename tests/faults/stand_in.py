"""An engine for tests that trains nothing and needs no torch, and whose "models" misbehave as
users' code may.

A cell's `model` says what happens in its second epoch. Numbers depend on the cell and the epoch
only, through a state that a checkpoint has to carry.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fanin import atomic
from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.crash_points import pass_crash_point
from fanin.errors import DataInvalid, UsageError
from fanin.execution.engine import TrainingJob

ENVIRONMENT = {
    "device": "stand-in",
    "engine": os.environ.get("STAND_IN_ENGINE", "1"),
    "torch": "none",
    "threads": 1,
    "matmul": "default",
    "dtype": "float32",
}


class Engine:
    """Makes numbers."""

    def choose_matmul(self, cells: Sequence[Cell], wanted: str | None = None) -> str:
        if any(cell.model == "dies-in-check" for cell in cells):
            os._exit(7)
        return wanted or "exact"

    def find_leftovers(self) -> list[str]:
        return []

    def set_up(self, device: str, matmul: str) -> dict[str, Any]:
        if device == "nowhere":
            raise UsageError("Device nowhere cannot be used. Choose cpu.")
        self.environment = {**ENVIRONMENT, "matmul": matmul}
        return self.environment

    def train(
        self,
        job: TrainingJob,
        on_epoch: Callable[[dict[str, float]], None],
        stop: Callable[[], bool],
    ) -> Result | None:
        cell, path = job.cell, job.checkpoints / f"{job.cell.id}.json"
        state: dict[str, Any] = {"x": cell.id, "loss": [], "seconds": []}
        if path.exists():
            state = json.loads(path.read_text())
        while len(state["loss"]) < cell.epochs:
            epoch = len(state["loss"]) + 1
            if cell.model == "vanishes":
                return None
            if epoch == 2 and (message := misbehave(cell.model)) is not None:
                return Result(
                    cell=cell,
                    outcome="diverged",
                    message=message,
                    history={"loss": [1.0, math.nan, -math.inf]},
                    environment=self.environment,
                )
            state["x"] = hashlib.sha256(f"{state['x']} {epoch}".encode()).hexdigest()
            state["loss"].append(int(state["x"][:12], 16) / 16**12)
            state["seconds"].append(random.random())
            on_epoch({"epoch": epoch, "loss": state["loss"][-1]})
            time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0.002")))
            if job.checkpoint_interval > 1000:
                continue
            job.checkpoints.mkdir(exist_ok=True)
            pass_crash_point("checkpoint.before_replace")
            atomic.write(path, json.dumps(state))
            pass_crash_point("checkpoint.after_replace")
            if stop() and epoch < cell.epochs:
                return None
        history = {"loss": state["loss"], "seconds": state["seconds"]}
        return Result(
            cell=cell,
            outcome="ok",
            history=history,
            metrics={"test_loss": min(state["loss"])},
            environment=self.environment,
        )


class DiesAtStart(Engine):
    """An engine that cannot even be made."""

    def __init__(self) -> None:
        os._exit(5)


def misbehave(model: str) -> str | None:
    """Do what the model is named after; a text means that training diverged."""
    if model == "raises":
        raise ValueError("a mistake in the model\n" * 2000)
    if model == "raises-fanin":
        raise DataInvalid("The file is not what it should be.")
    if model == "exits":
        sys.exit("enough")
    if model == "dies":
        print("last words", flush=True)
        os._exit(3)
    if model == "kills-itself":
        os.kill(os.getpid(), 9)
    if model == "fills-memory":  # as the kernel ends a process when memory is short
        count = Path(os.environ["STAND_IN_OOM_KILLS"])
        count.write_text(str(int(count.read_text()) + 1))
        os.kill(os.getpid(), 9)
    if model == "outlives-a-kill":  # another program is ended for memory meanwhile
        count = Path(os.environ["STAND_IN_OOM_KILLS"])
        count.write_text(str(int(count.read_text()) + 1))
    if model == "hangs":
        subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
    if model == "forks" and os.fork() == 0:
        time.sleep(1000)
    if model == "forks-and-goes-on":
        os.fork()
    if model == "forks-and-dies" and os.fork() != 0:
        os._exit(4)
    if model == "prints":
        for _ in range(64):
            print("x" * 2**20)
            sys.stderr.write("y" * 2**16)
    if model == "sleeps":
        time.sleep(1000)
    if model == "reads":
        assert sys.stdin.read() == ""
    if model == "writes-to-descriptors":
        os.write(1, b'{"is": "Stopped", "cell": ""}\n')
    if model == "closes-descriptors":
        os.closerange(3, 256)
    if model == "moves":
        os.chdir("/")
    if model == "seeds":
        random.seed(0)
    return "loss was NaN" if model == "diverges" else None
