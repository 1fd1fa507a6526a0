"""The critical-difference diagram: ranks, bars and scale are those of the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from study_cases import plan_of, result_of

from fanin.analysis.analysis import Analysis
from fanin.analysis.statistics import compare_ranks
from fanin.report.figures.rank_diagram import draw_rank_diagram
from fanin.report.figures.rendering import render

NAMES = ("he_normal", "xavier_uniform", "zero")


def draw(scores: Sequence[Sequence[float]]) -> Figure | None:
    """The diagram of sections with these accuracies of the three names, a replicate each."""
    problems = [
        ("mlp", f"pixels(of=digits, size={number})") for number in range(2, 2 + len(scores))
    ]
    plan = plan_of(problems, NAMES)
    results = {
        planned.cell.id: replace(result_of(planned.cell), metrics={"test_accuracy": float(score)})
        for planned, score in zip(plan.cells, np.asarray(scores).ravel(), strict=True)
    }
    return draw_rank_diagram(Analysis(plan, results))


def read(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    return [text.get_text().strip() for text in (*figure.texts, *axes.texts) if text.get_text()]


def get_markers(figure: Figure) -> list[float]:
    """The ranks of the markers, from the top down."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    return [float(line.get_xdata()[0]) for line in lines]


def get_bars(figure: Figure) -> list[tuple[float, ...]]:
    lines = [line for line in figure.axes[0].lines if line.get_linewidth() == 3]
    return [tuple(map(float, line.get_xdata())) for line in lines]


def test_ten_sections_have_bars_and_a_critical_difference() -> None:
    scores = [[0.9, 0.8, 0.1]] * 6 + [[0.8, 0.9, 0.1]] * 4
    figure = draw(scores)
    assert figure is not None
    expected = compare_ranks(scores, higher_is_better=True)
    assert get_markers(figure) == pytest.approx([1.4, 1.6, 3.0])
    assert get_bars(figure) == [pytest.approx((1.4, 1.6))]
    texts = read(figure)
    assert f"critical difference {expected.critical_difference:.2f}" in texts
    assert [text for text in texts if text in NAMES] == list(NAMES)
    assert render(figure, "pdf").startswith(b"%PDF")


def test_fewer_sections_are_called_descriptive() -> None:
    figure = draw([[0.9, 0.8, 0.1]] * 9)
    assert figure is not None
    assert not get_bars(figure)
    texts = read(figure)
    assert "descriptive: a test over sections needs 10 of them" in texts
    assert not [text for text in texts if "critical" in text]


def test_two_sections_have_no_diagram() -> None:
    assert draw([[0.9, 0.8, 0.1]] * 2) is None


def test_a_planted_tie_takes_the_order_of_the_plan_and_one_bar() -> None:
    figure = draw([[0.5, 0.5, 0.5]] * 12)
    assert figure is not None
    assert get_markers(figure) == [2.0, 2.0, 2.0]
    assert get_bars(figure) == [(2.0, 2.0)]
