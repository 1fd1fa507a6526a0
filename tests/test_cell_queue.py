"""Which worker trains which cell: none that has imported other user code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn
from user_code_files import write_file

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.execution.cell_queue import NO_FILES, CellQueue, list_user_files
from fanin.execution.runner import run_plan
from fanin.store.results_store import read
from fanin.study.canonical_cell import make_cell

PATCH = """
import torch
from torch import nn

nn.ReLU.forward = lambda self, x: torch.tanh(x)

def make(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, outputs))
"""


def waiting(*files: str) -> list[Cell]:
    return [
        Cell(
            data="digits",
            model="mlp",
            initializer="zero",
            replicate=replicate,
            sources=tuple((f"{file}:make", file) for file in names.split()),
        )
        for replicate, names in enumerate(files)
    ]


def test_a_clean_worker_takes_the_next_cell_and_others_only_those_with_the_same_code() -> None:
    cells = waiting("", "a", "", "a b", "a")
    queue = CellQueue()
    queue.fill(cells)
    assert [queue.take(NO_FILES) for _ in range(2)] == cells[:2]
    of_a = list_user_files(cells[1])
    assert queue.take(of_a) == cells[4]
    assert queue.take(of_a) is None
    assert queue.take(list_user_files(cells[3])) == cells[3]
    queue.put_back(cells[0])
    assert len(queue) == 2
    assert [queue.take(NO_FILES) for _ in range(3)] == [cells[0], cells[2], None]


def test_two_functions_of_one_file_are_the_same_code() -> None:
    one, other = (
        Cell(data="digits", model="mlp", initializer="zero", sources=((f"f.py:{name}", "1"),))
        for name in ("one", "other")
    )
    assert list_user_files(one) == list_user_files(other) == {("f.py", "1")}


@pytest.mark.usefixtures("preloaded_workers")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_changes_torch_changes_no_cell_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path, PATCH)
    monkeypatch.setattr(nn.ReLU, "forward", nn.ReLU.forward)  # planning imports the file here
    own = make(model="mine.py:make")
    others = [make(), make(initializer="zero"), make(initializer="xavier_normal")]
    together = train([own, *others], tmp_path / "together", workers)
    assert len(together) == 4
    alone = train(others, tmp_path / "alone", workers)
    assert {cell.id: together[cell.id] for cell in others} == alone


def make(**changes: Any) -> Cell:
    base = {
        "data": "digits",
        "model": "mlp(widths=[4], activation=relu)",
        "initializer": "he_normal",
        "epochs": 1,
    }
    return make_cell({**base, "batch_size": 512, **changes})


def train(cells: list[Cell], out: Path, workers: int) -> dict[str, list[float]]:
    """The validation loss of each cell, by id."""
    plan = Plan("test", "", "sound", tuple(PlannedCell(cell, {}) for cell in cells))
    summary = run_plan(plan, out, workers=workers)
    assert summary.counts == {"ok": len(cells)}
    return {cell: result.history["val_loss"] for cell, result in read(out).results.items()}
