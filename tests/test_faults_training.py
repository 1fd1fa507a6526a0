"""Real training, killed: the numbers are those of an undisturbed run bit for bit, also in the
middle of a cell.

What `test_faults.py` does point by point is done on one store here. The undisturbed run has workers
that are started as usual; those that are killed are forked from a process that has imported torch.
"""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.harness import eventually, finish, plan_of, processes_of, run, start, stored
from preloaded_workers import Nursery

from fanin.cell.cell import Cell
from fanin.crash_points import AT, ONCE, POINTS
from fanin.execution.engine import DEFAULT_ENGINE
from fanin.store.results_store import read
from fanin.store.verify import verify
from fanin.study.canonical_cell import make_cell

IN_WORKERS = [point for point in POINTS if point.startswith(("worker.", "checkpoint."))]
IN_RUNNER = [point for point in POINTS if point not in IN_WORKERS]

# A copy of a user's own, since importing scikit-learn for digits would take longer than the
# training.
PLAN = plan_of(
    *(
        Cell(
            data="tiny",
            model="mlp(widths=[8])",
            initializer=i,
            activation="relu",
            epochs=4,
            replicate=replicate,
        )
        for i in ("zero", "he_normal", "orthogonal")
        for replicate in range(2)
    )
)
REAL: dict[str, Any] = {"engine": DEFAULT_ENGINE, "checkpoint_interval": 0}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the data set is found."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "tiny").mkdir()
    draws = np.random.Generator(np.random.PCG64(0))
    arrays = {
        f"x_{part}": draws.normal(size=(n, 6)).astype(np.float32)
        for part, n in (("train", 300), ("test", 60))
    }
    labels = {
        name.replace("x", "y"): x[:, :3].argmax(1).astype(np.int64) for name, x in arrays.items()
    }
    np.savez(folder / "tiny" / "tiny.npz", **arrays, **labels)
    return {"FANIN_DATA_DIR": str(folder)}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, _, errors = run(PLAN, out, workers=1, env=environment, **REAL)
    assert (code, errors) == (0, "")
    return stored(out)


def test_one_worker_undisturbed_equals_two_workers_killed_at_every_crash_point(
    tmp_path: Path, undisturbed: dict[str, Any], environment: dict[str, str], nursery: Nursery
) -> None:
    out, once = tmp_path / "out", {**environment, ONCE: str(tmp_path)}
    for point in IN_RUNNER:
        code, _, _ = run(PLAN, out, workers=2, env={**once, AT: point}, nursery=nursery, **REAL)
        assert code == -signal.SIGKILL
        assert (tmp_path / point).exists()
    for _ in range(3):  # a cell whose worker dies twice in one command waits for the next
        at_all = {**once, AT: ",".join(IN_WORKERS)}
        code, _, errors = run(PLAN, out, workers=2, env=at_all, nursery=nursery, **REAL)
        assert errors == ""
        if code == 0:
            break
    assert {path.name for path in tmp_path.iterdir()} == {"out", *POINTS}
    assert stored(out) == undisturbed
    assert {record[0] for record in undisturbed.values()} == {"ok"}
    assert verify(out) == []
    assert not processes_of(out)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_twenty_random_moments_equals_undisturbed(tmp_path: Path) -> None:
    cells = (
        make_cell(
            {
                "data": "digits",
                "model": "mlp(widths=[32], activation=tanh)",
                "initializer": i,
                "epochs": 50,
                "replicate": r,
            }
        )
        for i in ("zero", "he_normal", "orthogonal")
        for r in range(8)
    )
    plan = plan_of(*cells)
    assert run(plan, tmp_path / "undisturbed", workers=1, **REAL)[0] == 0
    out, moments, before, in_training = tmp_path / "out", random.Random(1), set[str](), 0
    for _ in range(20):
        (out / "progress.json").unlink(missing_ok=True)
        runner = start(plan, out, workers=2, **REAL)
        if moments.random() < 0.8:
            eventually(
                lambda runner=runner: (out / "progress.json").exists() or runner.poll() is not None,
                60,
            )
            eventually(
                lambda runner=runner: (
                    list((out / "checkpoints").glob("*.safetensors")) or runner.poll() is not None
                ),
                60,
            )
            in_training += runner.poll() is None
        time.sleep(moments.uniform(0, 1.5))
        runner.kill()
        _, output, _ = finish(runner)
        acknowledged = set(re.findall(r"CellFinished (\w+)", output))
        stays = set(read(out).results) if (out / "results.sqlite").exists() else set()
        assert acknowledged.isdisjoint(before)  # never trained again
        assert before | acknowledged <= stays  # never lost
        before = stays
    assert in_training >= 10
    assert run(plan, out, workers=2, **REAL)[0] == 0
    assert stored(out) == stored(tmp_path / "undisturbed")
    assert verify(out) == []
    eventually(lambda: not processes_of(out))
