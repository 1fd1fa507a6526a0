"""Curves of an initializer that is far worse than all others stand at the edge of the axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from study_cases import plan_of, result_of

from fanin.analysis.analysis import Analysis
from fanin.report.figures.axis_focus import find_far
from fanin.report.figures.overlaid_curves import draw_overlaid_curves
from fanin.report.sections.curve_figure import FAR_LINES, make_curve_figure

NAMES = ("zero", "he_normal", "xavier_uniform", "orthogonal")
NEAR = {
    "he_normal": [0.93, 0.97],
    "xavier_uniform": [0.94, 0.98],
    "orthogonal": [0.95, 0.975],
}


def analyse(accuracies: Mapping[str, list[float]]) -> Analysis:
    """Two replicates of each initializer, with that validation accuracy by epoch."""
    plan = plan_of([("mlp", "mnist")], NAMES, replicates=2)
    found = {}
    for planned in plan.cells:
        made = result_of(planned.cell)
        values = accuracies[planned.cell.initializer.partition("(")[0]]
        history = {"loss": [1.0 - v for v in values], "accuracy": values, "val_accuracy": values}
        history["val_loss"] = history["loss"]
        found[planned.cell.id] = replace(made, history=history)
    return Analysis(plan, found)


@pytest.mark.parametrize(
    ("conditions", "higher", "far"),
    [
        ([[0.1], [0.93, 0.98], [0.94], [0.95]], True, [True, False, False, False]),
        ([[2.3], [0.1, 0.2], [0.15], [0.12]], False, [True, False, False, False]),
        ([[2.3], [0.1, 0.2], [0.15], [0.12]], True, [False, False, False, False]),  # far better
        ([[0.5], [0.6, 0.9], [0.8], [0.7]], True, [False, False, False, False]),
        ([[], [0.93, 0.98], [0.94], [0.1]], True, [False, False, False, True]),
        ([[0.1], [0.98]], True, [False, False]),  # two are not enough to say which is off
        ([], True, []),
    ],
)
def test_far_is_what_leaves_the_rest_no_room(
    conditions: list[list[float]], higher: bool, far: list[bool]
) -> None:
    assert find_far(conditions, higher_is_better=higher) == far


def test_the_page_marks_a_mean_far_below_in_each_metric_that_shows_it() -> None:
    figure = make_curve_figure(analyse({**NEAR, "zero": [0.11, 0.11]}))
    assert figure is not None
    zero, *others = figure.data["panels"][0]["lines"]
    assert zero["m"]["val_metric"]["far"] == -1  # below an accuracy's axis
    assert zero["m"]["val_loss"]["far"] == 1  # above a loss's
    assert not any("far" in one for line in others for one in line["m"].values())
    assert FAR_LINES in figure.caption


def test_the_page_says_nothing_of_edges_if_all_lines_fit() -> None:
    figure = make_curve_figure(analyse({**NEAR, "zero": [0.90, 0.95]}))
    assert figure is not None
    assert FAR_LINES not in figure.caption
    assert not any(
        "far" in one for p in figure.data["panels"] for one in p["lines"][0]["m"].values()
    )


def test_the_printed_curves_keep_their_axis_for_the_others() -> None:
    (axes,) = draw_overlaid_curves(analyse({**NEAR, "zero": [0.11, 0.11]})).axes
    low, high = axes.get_ylim()
    assert 0.9 < low < 0.93
    assert 0.98 < high < 1.0
    assert len(axes.get_lines()) == 3
    assert any("0.11" in text.get_text() for text in axes.texts)
