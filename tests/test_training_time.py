"""The estimate of a plan's time."""

from __future__ import annotations

import pytest
import torch

from fanin.cell.cell import Cell
from fanin.data import DataInfo
from fanin.execution.training_time import Pace, Workload, bound_seconds, measure_paces
from fanin.training.steps import EVALUATION_BATCH

CELL = Cell(
    data="digits", model="mlp", initializer="zero", batch_size=64, epochs=10, protocol="case-study"
)
INFO = DataInfo(
    name="digits",
    task="classification",
    input_shape=(64,),
    outputs=10,
    n_train=640,
    n_test=2 * EVALUATION_BATCH,
)


def test_time_is_steps_times_seconds_per_step_over_workers() -> None:
    paces = {Workload.from_cell(CELL): Pace(step=0.5, evaluation=2.0)}
    one = 10 * (10 * 0.5 + 2 * 2.0)
    assert bound_seconds([CELL], paces, {"digits": INFO}, 1) == pytest.approx(one)
    assert bound_seconds([CELL] * 4, paces, {"digits": INFO}, 2) == pytest.approx(2 * one)


def test_a_single_cell_is_no_faster_with_more_workers() -> None:
    paces = {Workload.from_cell(CELL): Pace(step=0.5, evaluation=0.0)}
    assert bound_seconds([CELL], paces, {"digits": INFO}, 8) == pytest.approx(50)
    assert bound_seconds([CELL] * 3, paces, {"digits": INFO}, 2) == pytest.approx(75)


def test_nothing_to_train_takes_no_time() -> None:
    assert bound_seconds([], {}, {}, 2) == 0
    assert measure_paces([]) == {}


def test_a_protocol_that_holds_out_trains_on_fewer_samples() -> None:
    sound = Cell(data="digits", model="mlp", initializer="zero", epochs=1)
    paces = {Workload.from_cell(sound): Pace(step=1.0, evaluation=100.0)}
    assert (
        bound_seconds([sound], paces, {"digits": INFO}, 1) == 9 + 100
    )  # 576 of 640 in batches of 64; 64 for validation


@pytest.mark.parametrize(
    ("model", "data"), [("mlp", "digits"), ("cnn", "cifar10"), ("regression", "diabetes")]
)
def test_steps_of_every_kind_are_measured_and_leave_no_trace(model: str, data: str) -> None:
    threads = torch.get_num_threads()
    cell = Cell(data=data, model=model, initializer="zero")
    paces = measure_paces([cell, cell], budget=0.05)
    assert set(paces) == {Workload.from_cell(cell)}
    assert paces[Workload.from_cell(cell)].evaluation > 0
    assert 0 < paces[Workload.from_cell(cell)].step < 10
    assert torch.get_num_threads() == threads


def test_cells_that_differ_in_initializer_or_replicate_are_measured_once() -> None:
    cells = [
        Cell(data="digits", model="mlp", initializer=name, replicate=i)
        for name in ("zero", "uniform")
        for i in range(3)
    ]
    assert len(measure_paces(cells, budget=0.01)) == 1
