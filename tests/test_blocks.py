"""Which cells are trained: the rule that keeps environments apart."""

from __future__ import annotations

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.execution.blocks import (
    find_mixed_blocks,
    find_started_matmul,
    find_unfinished,
    select_cells,
)

INITIALIZERS = ("zero", "he_normal", "xavier_uniform")
CELLS = tuple(
    Cell(data=d, model="mlp", initializer=i) for d in ("mnist", "digits") for i in INITIALIZERS
)
HERE, ELSEWHERE = ({"device": device} for device in ("here", "elsewhere"))
KEY = Result(cell=CELLS[0], outcome="ok", environment=HERE).environment_key


def results(*outcomes: tuple[int, str, dict[str, str]]) -> dict[str, Result]:
    return {CELLS[i].id: Result(cell=CELLS[i], outcome=o, environment=e) for i, o, e in outcomes}


def trained(found: dict[str, Result], *, accept_changed: bool = False) -> list[int]:
    return [
        CELLS.index(cell)
        for cell in select_cells(CELLS, found, KEY, accept_changed=accept_changed).cells
    ]


def test_everything_is_trained_once_in_the_order_of_the_plan() -> None:
    assert trained({}) == [0, 1, 2, 3, 4, 5]
    assert trained(results(*((i, "ok", HERE) for i in range(6)))) == []


def test_failed_and_killed_cells_are_tried_again_and_diverged_ones_never() -> None:
    assert trained(results((0, "failed", HERE), (1, "killed", HERE), (2, "diverged", HERE))) == [
        0,
        1,
        3,
        4,
        5,
    ]


def test_a_whole_block_of_another_machine_stands() -> None:
    found = results(*((i, "ok", ELSEWHERE) for i in range(3)))
    assert trained(found) == [3, 4, 5]
    assert select_cells(CELLS, found, KEY).retrained == frozenset()


def test_a_half_done_block_of_another_machine_is_trained_anew() -> None:
    found = results((0, "ok", ELSEWHERE), (1, "diverged", ELSEWHERE))
    assert trained(found) == [0, 1, 2, 3, 4, 5]
    assert select_cells(CELLS, found, KEY).retrained == {CELLS[0].id, CELLS[1].id}


def test_accepting_the_change_trains_only_what_is_missing() -> None:
    assert trained(results((0, "ok", ELSEWHERE), (1, "ok", ELSEWHERE)), accept_changed=True) == [
        2,
        3,
        4,
        5,
    ]


def test_a_block_whose_new_training_was_interrupted_is_finished_here() -> None:
    found = results((0, "ok", HERE), (1, "ok", ELSEWHERE), (2, "ok", ELSEWHERE))
    assert trained(found) == [1, 2, 3, 4, 5]
    assert trained(found, accept_changed=True) == [3, 4, 5]


def test_a_failed_result_of_another_machine_does_not_make_its_block_whole() -> None:
    found = results((0, "ok", ELSEWHERE), (1, "ok", ELSEWHERE), (2, "failed", ELSEWHERE))
    assert trained(found) == [0, 1, 2, 3, 4, 5]


def test_whether_there_is_anything_to_do_needs_no_environment() -> None:
    whole = results(*((i, "ok", ELSEWHERE if i < 3 else HERE) for i in range(6)))
    assert find_unfinished(CELLS, whole) == ()
    assert [
        c.initializer for c in find_unfinished(CELLS, results((0, "ok", HERE), (1, "ok", HERE)))
    ][:1] == ["xavier_uniform"]
    split = whole | results((0, "ok", HERE))
    assert find_unfinished(CELLS, split) == CELLS[:3]
    assert find_unfinished(CELLS, split, accept_changed=True) == ()


def test_mixed_blocks_are_found() -> None:
    found = results(
        (0, "ok", HERE), (1, "ok", ELSEWHERE), (2, "failed", ELSEWHERE), (3, "ok", ELSEWHERE)
    )
    assert list(find_mixed_blocks(found.values())) == [CELLS[0].block]


def test_half_done_blocks_go_on_with_their_matmul_backend() -> None:
    first, second = ({"device": "here", "matmul": backend} for backend in ("onednn", "default"))
    whole = [(i, "ok", second) for i in range(3)]
    assert find_started_matmul(CELLS, {}) is None
    assert find_started_matmul(CELLS, results(*whole)) is None  # nothing is half done
    assert find_started_matmul(CELLS, results(*whole, (3, "ok", first))) == "onednn"
    assert find_started_matmul(CELLS, results((0, "ok", first), (3, "ok", second))) is None
    assert find_started_matmul(CELLS, results((0, "failed", first))) is None
    assert find_started_matmul(CELLS, results((0, "ok", HERE))) is None
