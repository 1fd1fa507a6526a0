"""What fault tests share: plans, runs in processes of their own, and a look at which workers
live.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from preloaded_workers import DESCRIPTOR, Nursery

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.store.results_store import read

HERE = Path(__file__).parent
STAND_IN = "faults.stand_in:Engine"
FINGERPRINT = "FANIN_TEST_RUN"
"""Environment variable that marks every process of one test's runs, whoever adopted it."""


def cell(model: str = "good", initializer: str = "he_normal", **fields: Any) -> Cell:
    """A cell for the stand-in engine."""
    return Cell(
        **{"data": "digits", "model": model, "initializer": initializer, "epochs": 3, **fields}
    )


def import_path(*folders: Path) -> str:
    """PYTHONPATH for a process that imports the tests' modules and the same fanin as this one."""
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join(
        [*map(str, folders), str(HERE.parent), *([inherited] if inherited else [])]
    )


def plan_of(*cells: Cell) -> Plan:
    """A plan of cells."""
    return Plan(
        "test",
        "Does it survive?",
        "sound",
        tuple(PlannedCell(c, {"initializer": c.initializer}) for c in cells),
    )


def start(
    plan: Plan,
    out: Path,
    *,
    engine: str = STAND_IN,
    env: dict[str, str] | None = None,
    nursery: Nursery | None = None,
    **options: Any,
) -> subprocess.Popen[str]:
    """A runner in a process of its own, whose workers come from a nursery if there is one."""
    arguments = [json.dumps(plan.to_json()), str(out), json.dumps({"engine": engine, **options})]
    command = [sys.executable, str(HERE / "run_study.py"), *arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": import_path(),
        FINGERPRINT: str(out),
        **(env or {}),
    }
    passed = [] if nursery is None else [nursery.orders.fileno()]
    if passed:
        environment[DESCRIPTOR] = str(passed[0])
    return subprocess.Popen(
        command,
        cwd=out.parent,
        env=environment,
        pass_fds=passed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(runner: subprocess.Popen[str], timeout: float = 200) -> tuple[int, str, str]:
    """Wait for a runner: its exit status, output and errors."""
    output, errors = runner.communicate(timeout=timeout)
    return runner.returncode, output, errors


def run(plan: Plan, out: Path, **options: Any) -> tuple[int, str, str]:
    """Run a plan to its end in a process of its own."""
    return finish(start(plan, out, **options))


def numbers(results: Iterable[Result]) -> dict[str, Any]:
    """What must be equal bit for bit, by cell: everything but time."""
    found = {}
    for result in results:
        record = result.to_json()
        record["history"].pop("seconds", None)
        found[record["id"]] = [
            record["outcome"],
            record["history"],
            record["metrics"],
            record["data"],
        ]
    return found


def stored(out: Path) -> dict[str, Any]:
    """`numbers` of a folder."""
    return numbers(read(out).results.values())


def processes_of(out: Path) -> list[int]:
    """The living processes that belong to the runs in `out`, by environment or working folder."""
    mark = f"{FINGERPRINT}={out}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if "Z" not in (entry / "stat").read_text().split()[2] and (
                    mark in (entry / "environ").read_bytes().split(b"\0")
                    or (entry / "cwd").readlink() == out.parent
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def eventually(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until the condition holds; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not come true in {seconds} s"
        time.sleep(0.01)
    return value
