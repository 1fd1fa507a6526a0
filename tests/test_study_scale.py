"""Large studies are planned in linear time, and texts made to cost too much are refused."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from fanin.cell.cell import Cell
from fanin.errors import StudyError
from fanin.execution.blocks import find_unfinished, select_cells
from fanin.study.axes import AxisValue, _read_axis
from fanin.study.line_numbers import LineNumbers
from fanin.study.study import Study
from fanin.study.toml_limits import find_excess

HEAD = 'question = "?"\n[base]\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "model = " + "[" * 5000 + "]" * 5000, "line 3: brackets are nested more than 50"),
        (HEAD + "model = " + "{a = " * 5000 + "1" + "}" * 5000, "line 3: brackets are nested"),
        (HEAD + ".".join(["a"] * 20_000) + " = 1", "line 3: a key has more than 20 dots"),
        (HEAD + " . ".join(['"a"'] * 20_000) + " = 1", "line 3: a key has more than 20 dots"),
        ("[" + ".".join(["a"] * 20_000) + "]", "line 1: a key has more than 20 dots"),
        (HEAD + "x = 1\nepochs = " + "9" * 5000, "line 4: a number has more than 1,000 digits"),
        (HEAD + "epochs = 0x" + "9" * 5000, "line 3: a number has more than 1,000 digits"),
    ],
)
def test_a_text_that_costs_too_much_is_refused_with_its_line(text: str, says: str) -> None:
    started = time.process_time()
    with pytest.raises(StudyError, match=says):
        Study.from_toml(text, "s")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        'question = "' + "." * 500 + "[" * 500 + "9" * 5000 + '"',
        'question = """\n' + "[" * 500 + "\n" + "a." * 500 + '\n"""\n# ' + "{" * 500,
        "question = '" + "[" * 500 + "'",
        r'question = "\"' + "[" * 500 + '"',
        "model = [[[1]]]\nx.y.z = 0.123456789",
    ],
)
def test_what_stands_in_texts_and_comments_is_no_excess(text: str) -> None:
    assert find_excess(text) == ""


def measure_growth(work: Callable[[int], object], size: int) -> float:
    """How many times as long twice the size takes: 2 if linear, 4 if quadratic."""

    def measure(n: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            work(n)
            best = min(best, time.process_time() - started)
        return best

    return measure(4 * size) / measure(size) / 2


def read_axis(n: int) -> tuple[AxisValue, ...]:
    return _read_axis("Study s", "learning_rate", [1 + i / n for i in range(n)])


def select(n: int) -> object:
    cells = [Cell(model="m", data="d", initializer="i", replicate=k) for k in range(n)]
    return find_unfinished(cells, {}), select_cells(cells, {}, "key")


def number_lines(n: int) -> LineNumbers:
    return LineNumbers.from_toml("[[grid]]\nmodel = ['mlp']\n" * n)


@pytest.mark.parametrize("work", [read_axis, select, number_lines])
def test_planning_is_linear(work: Callable[[int], object]) -> None:
    assert measure_growth(work, 2000) < 4  # 8 if quadratic


def test_a_value_or_a_label_that_occurs_twice_is_still_found() -> None:
    with pytest.raises(StudyError, match="lists a value twice"):
        _read_axis("s", "a", [1, 2, 1])
    named = [{"label": "x", "use": use} for use in (1, 2)]
    with pytest.raises(StudyError, match="two values of axis a are called 'x'"):
        _read_axis("s", "a", named)
    assert len(_read_axis("s", "a", [*itertools.islice(itertools.count(), 30_000)])) == 30_000
