"""Figures of studies of any factors: which are chosen, what they show, how they treat what
diverged.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from factor_cases import KINDS, kind_of_study, scored, study_plan
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from study_cases import plan_of, result_of, results_of

from fanin.analysis.analysis import Analysis
from fanin.cell.plan import Plan
from fanin.errors import OutputError
from fanin.report.figures import panel_grid, study_figures, theory_curves
from fanin.report.figures.dot_plot import draw_dot_plot
from fanin.report.figures.heat_map import Curve, draw_heat_map
from fanin.report.figures.rendering import render
from fanin.report.figures.response_curves import draw_response_curves
from fanin.report.figures.scales import FactorScale, compute_edges, is_logarithmic
from fanin.report.figures.study_figures import draw_study_figures
from fanin.report.results import Results
from fanin.study.study import Study

MLP = {"model": "mlp", "data": "digits"}


@cache
def analyse(kind: str, replicates: int) -> Analysis:
    """A study of `KINDS`, analysed once for all tests."""
    return Analysis(*kind_of_study(kind, replicates))


def read_texts(figure: Figure) -> str:
    """All that is written in a figure."""
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        texts += [text.get_text() for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [
            axes.get_title(loc="left"),
            axes.get_xlabel(),
            axes.get_ylabel(),
            *(t.get_text() for t in axes.texts),
        ]
        texts += [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    return " / ".join(texts)


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        ("depth", ["Test accuracy by depth"]),
        ("phase-diagram", ["Test accuracy by gain and depth", "Test accuracy by gain"]),
        (
            "normalization",
            ["Test accuracy by initializer", "Test accuracy by initializer and normalization"],
        ),
        ("learning-rate", ["Test accuracy by learning rate"]),
        ("recurrent", ["Test metric by initializer"]),
        (
            "combined",
            ["Test accuracy by initializer", "Test accuracy by initializer and normalization"],
        ),
    ],
)
def test_a_study_gets_the_figures_that_fit_its_axes(kind: str, titles: list[str]):
    figures = draw_study_figures(analyse(kind, 3), overlays=())
    # The one compares two values, the other has one problem at several learning rates.
    has_ranks = kind not in ("phase-diagram", "learning-rate")
    ranks = ["Average ranks of initializers"] * has_ranks
    assert [figure.title for figure in figures] == [*titles, *ranks]
    assert all(figure.image.startswith(b"\x89PNG") for figure in figures)


def test_a_study_without_results_or_variation_gets_none():
    plan = study_plan(MLP, {"initializer": ("zero", "he_normal")}, 2)
    assert draw_study_figures(Analysis(plan, {})) == []
    one = study_plan(MLP, {"initializer": ("zero",)}, 5)
    assert (
        draw_study_figures(
            Analysis(one, {planned.cell.id: scored(planned.cell) for planned in one.cells})
        )
        == []
    )
    assert draw_study_figures(Analysis(replace(plan, cells=()), {})) == []


def test_figures_are_written_and_are_the_same_bytes_each_time(tmp_path: Path):
    results = Results(*kind_of_study("optimizers", 2), out=tmp_path)
    paths = results.figures()
    assert [path.name for path in paths] == [
        "figure-1-test-accuracy-by-initializer.png",
        "figure-2-test-accuracy-by-initializer-and-optimizer.png",
        "figure-3-average-ranks-of-initializers.png",
    ]
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in results.figures(tmp_path / "again")] == first
    assert [path.suffix for path in results.figures(tmp_path, kind="svg")] == [".svg"] * 3


def test_an_unknown_kind_of_figure_is_an_error(tmp_path: Path):
    with pytest.raises(OutputError, match="png, pdf, svg"):
        Results(*kind_of_study("optimizers", 1)).figures(tmp_path, kind="bmp")


def test_a_response_goes_through_the_means_and_has_their_intervals():
    plan = study_plan({**MLP, "initializer": "he_normal"}, {"learning_rate": (0.001, 0.01, 0.1)}, 6)
    values = {rate: [0.5 + rate + 0.01 * i for i in range(6)] for rate in (0.001, 0.01, 0.1)}
    results = {
        p.cell.id: scored(
            p.cell,
            outcome="ok",
            metrics={"test_accuracy": values[p.cell.learning_rate][p.cell.replicate]},
        )
        for p in plan.cells
    }
    axes = draw_response_curves(Analysis(plan, results), "learning_rate").axes[0]
    line, _, [bars] = axes.containers[0]
    assert np.asarray(line.get_ydata()) == pytest.approx([0.526, 0.535, 0.625])
    lengths = [segment[1][1] - segment[0][1] for segment in bars.get_segments()]
    assert lengths == pytest.approx([2 * 2.570582 * math.sqrt(0.00035 / 6)] * 3, rel=1e-5)
    assert axes.get_xscale() == "log"


def test_a_response_has_no_mean_where_a_replicate_diverged():
    plan = study_plan({**MLP, "initializer": "he_normal"}, {"learning_rate": (0.001, 0.01)}, 5)
    results = {
        p.cell.id: scored(
            p.cell, outcome="ok", metrics={"test_accuracy": 0.9 - 0.1 * p.cell.replicate}
        )
        for p in plan.cells
    }
    worst = next(
        p.cell for p in plan.cells if p.cell.replicate == 0 and p.cell.learning_rate == 0.01
    )
    results[worst.id] = scored(worst, outcome="diverged", metrics={})
    figure = draw_response_curves(Analysis(plan, results), "learning_rate")
    line = figure.axes[0].containers[0][0]
    assert np.isnan(np.asarray(line.get_ydata(), dtype=float)).tolist() == [False, True]
    dotted = next(one for one in figure.axes[0].lines if one.get_linestyle() == ":")
    assert np.asarray(dotted.get_ydata()) == pytest.approx([0.7, 0.6])
    assert "diverged (size: share)" in read_texts(figure)
    assert [len(axes.lines) for axes in figure.axes[1:]] == [1]


def test_a_grid_has_a_panel_for_each_setting_and_share_a_scale_on_the_same_data():
    figure = draw_response_curves(analyse("depth", 2), "model.depth")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["relu", "tanh"]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    other = draw_dot_plot(analyse("recurrent", 2))
    assert len({axes.get_xlim() for axes in other.axes}) == 9


def test_a_figure_too_large_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(panel_grid, "MAX_COLUMNS", 2)
    assert "Drawn: 6 of 9 panels." in read_texts(draw_dot_plot(analyse("recurrent", 1)))


def get_cells(figure: Figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def draw_heat_map_of(
    scores: dict[tuple[str, str], list[float | None]], metric: str = "test_accuracy"
) -> Figure:
    optimizers, activations = (list(dict.fromkeys(names)) for names in zip(*scores, strict=True))
    plan = study_plan(
        {**MLP, "initializer": "zero"}, {"optimizer": optimizers, "activation": activations}, 4
    )
    results = {}
    for planned in plan.cells:
        value = scores[planned.labels["optimizer"], planned.labels["activation"]][
            planned.cell.replicate
        ]
        outcome, metrics = ("diverged", {}) if value is None else ("ok", {metric: value})
        results[planned.cell.id] = scored(planned.cell, outcome=outcome, metrics=metrics)
    return draw_heat_map(Analysis(plan, results), "optimizer", "activation")


def compute_brightness(patch: Rectangle) -> float:
    red, green, blue, _ = patch.get_facecolor()
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("metric", "better"), [("test_accuracy", 0.9), ("test_loss", 0.1)])
def test_in_a_heat_map_brighter_is_better_in_grey_too(metric: str, better: float):
    worse = 1.0 - better
    figure = draw_heat_map_of(
        {("sgd", "relu"): [better] * 4, ("adam", "relu"): [0.5] * 4, ("lion", "relu"): [worse] * 4},
        metric,
    )
    shades = [compute_brightness(patch) for patch in get_cells(figure)]
    assert shades == sorted(shades, reverse=True)
    assert shades[0] - shades[2] > 0.5


def test_a_heat_map_hatches_cells_with_diverged_replicates():
    figure = draw_heat_map_of(
        {
            ("sgd", "relu"): [0.9] * 4,
            ("adam", "relu"): [0.5, 0.5, 0.5, None],
            ("lion", "relu"): [None] * 4,
        }
    )
    hatches = [patch.get_hatch() for patch in get_cells(figure) if patch.get_hatch()]
    assert hatches == ["////", "xxxx"]
    assert "4/4" in read_texts(figure)
    assert "half or more diverged" in read_texts(figure)
    assert not [
        patch
        for patch in get_cells(
            draw_heat_map_of({("sgd", "relu"): [0.9] * 4, ("adam", "relu"): [0.8] * 4})
        )
        if patch.get_hatch()
    ]


def test_curves_over_a_heat_map_stand_in_its_factors_units():
    curve = ([1.0, 2.0, 3.0], [8.0, 64.0, 16.0], "depth scale")
    analysis = analyse("phase-diagram", 1)
    everywhere = draw_heat_map(analysis, "initializer.gain", "model.depth", overlays=[curve])
    assert [np.asarray(axes.lines[0].get_ydata()).tolist() for axes in everywhere.axes[:2]] == [
        [8.0, 64.0, 16.0]
    ] * 2
    assert "depth scale" in read_texts(everywhere)
    assert everywhere.axes[0].get_yscale() == "log"
    tanh = draw_heat_map(analysis, "initializer.gain", "model.depth", overlays={"tanh": [curve]})
    assert [len(axes.lines) for axes in tanh.axes[:2]] == [0, 1]


def test_a_panel_of_a_heat_map_has_the_values_that_it_has_and_no_others():
    one = study_plan(
        {**MLP, "activation": "tanh"},
        {"optimizer": ("sgd", "adam"), "learning_rate": (0.1, 0.2, 0.3)},
        1,
    )
    two = study_plan(
        {**MLP, "activation": "relu"},
        {"optimizer": ("sgd", "adam"), "learning_rate": (0.1, 0.25)},
        1,
    )
    both = replace(one, cells=one.cells + two.cells)
    figure = draw_heat_map(
        Analysis(both, {p.cell.id: scored(p.cell) for p in both.cells}),
        "learning_rate",
        "optimizer",
    )
    cells = [[patch for patch in axes.patches if not patch.get_hatch()] for axes in figure.axes[:2]]
    assert [len(found) for found in cells] == [6, 4]
    assert [axes.get_xlim() for axes in figure.axes[:2]] == [
        pytest.approx((0.05, 0.35)),
        pytest.approx((0.025, 0.325)),
    ]


def test_points_show_every_replicate_and_the_mean():
    plan = plan_of([("mlp", "mnist")], ("he_normal", "orthogonal"), replicates=6)
    axes = draw_dot_plot(Analysis(plan, results_of(plan))).axes[0]
    sizes = [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert sorted(sizes) == [1, 1, 6, 6]


def test_points_say_how_many_diverged():
    plan = plan_of([("mlp", "mnist")], ("he_normal", "orthogonal"), replicates=6)
    results = results_of(plan)
    twice = [p.cell for p in plan.cells if p.cell.initializer == "he_normal(truncated=true)"][:2]
    results |= {cell.id: result_of(cell, "diverged") for cell in twice}
    assert "2/6" in read_texts(draw_dot_plot(Analysis(plan, results)))


def test_a_condition_far_worse_than_all_others_does_not_squeeze_them():
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal", "orthogonal"), replicates=6)
    figure = draw_dot_plot(Analysis(plan, results_of(plan)))
    assert figure.axes[0].get_xlim()[0] > 0.9
    assert "◂ 0.1000" in read_texts(figure)
    assert "beyond the axis" in read_texts(figure)


def test_a_condition_that_is_merely_worse_stays_on_the_axis():
    plan = study_plan(MLP, {"initializer": ("zero", "he_normal", "orthogonal")}, 5)
    level = {"zero": 0.8, "he_normal": 0.9, "orthogonal": 0.95}
    results = {
        p.cell.id: scored(
            p.cell,
            metrics={"test_accuracy": level[p.cell.initializer] + 0.01 * p.cell.replicate},
            outcome="ok",
        )
        for p in plan.cells
    }
    assert draw_dot_plot(Analysis(plan, results)).axes[0].get_xlim()[0] < 0.8


def test_half_of_the_conditions_are_never_left_beyond_the_axis():
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal"), replicates=6)
    assert draw_dot_plot(Analysis(plan, results_of(plan))).axes[0].get_xlim()[0] < 0.1


def test_axes_are_logarithmic_for_wide_or_geometric_values_only():
    assert is_logarithmic([0.001, 0.1])
    assert is_logarithmic([2, 4, 8, 16])
    assert not is_logarithmic([2, 4, 6, 8, 10, 12, 16])
    assert not is_logarithmic([0, 1, 100])
    assert not is_logarithmic([1, 3])
    assert compute_edges([1, 2, 4], FactorScale(log=True)) == pytest.approx(
        [2**-0.5, 2**0.5, 2**1.5, 2**2.5]
    )
    assert compute_edges([1, 2, 4], FactorScale(log=False)) == pytest.approx([0.5, 1.5, 3, 5])


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_names_are_taken_literally(kind: str):
    names = ("$x_1^2$", "_hidden", "a\x1b[31m & <b>", "初期化")
    plan = study_plan(
        MLP, {"learning_rate": (0.1, 0.01, 0.001), "initializer": ("zero", "a", "b", "c")}, 2
    )
    labels = dict(zip(("zero", "a", "b", "c"), names, strict=True))
    hostile = {"data": "$d_1$", "model": "_m"}
    cells = [
        replace(p, labels={**p.labels, **hostile, "initializer": labels[p.cell.initializer]})
        for p in plan.cells
    ]
    plan = replace(plan, cells=tuple(cells))
    analysis = Analysis(plan, {p.cell.id: scored(p.cell) for p in plan.cells})
    for figure in (
        draw_response_curves(analysis, "learning_rate"),
        draw_dot_plot(analysis),
        draw_heat_map(analysis, "learning_rate", "initializer"),
    ):
        assert len(render(figure, kind)) > 5_000


def test_a_page_shows_the_figures_above_the_curves(tmp_path: Path):
    page = (
        Results(*kind_of_study("optimizers", 2))
        .report(tmp_path / "r.html")
        .read_text(encoding="utf-8")
    )
    assert page.index(">Results</h2>") < page.index(">Figures</h2>")
    assert page.index(">Figures</h2>") < page.index(">Training curves</h2>")
    titles = re.findall(r"<b>Figure \d+\. (.*?)\.</b>", page)
    assert titles == [
        "Differences by initializer",
        "Average ranks of initializers",
        "Test accuracy by initializer",
        "Test accuracy by initializer and optimizer",
        "Training curves",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_is_drawn_with_a_single_replicate(kind: str):
    assert draw_study_figures(analyse(kind, 1), kind="svg", overlays=())


# What theory says


def plan_phase_diagram(**changes: object) -> Plan:
    study = Study.load("phase-diagram")
    plan = replace(study, base={**study.base, **changes}).plan(replicates=1)
    assert (
        Study.from_toml(plan.study_toml, "phase-diagram").plan().cells == plan.cells
    )  # so the resolved copy plans the same cells
    return plan


def test_the_depth_scale_is_drawn_over_a_phase_diagram_on_both_sides_of_criticality(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(theory_curves, "_POINTS", 9)
    curves = theory_curves.compute_depth_scales(
        plan_phase_diagram(), "initializer.gain", "model.depth"
    )
    assert set(curves) == {"tanh", "relu"}
    below, above = curves["relu"]
    assert max(below[0]) < math.sqrt(2) < min(above[0])
    assert list(below[1]) == sorted(below[1])
    assert list(above[1]) == sorted(above[1], reverse=True)
    sigma, depth = below[0][0], below[1][0]
    assert depth == pytest.approx(-6 / math.log(sigma**2 / 2), rel=1e-6)


def test_a_phase_diagram_gets_the_curves_of_theory(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = ([1.0, 2.0], [8.0, 16.0], "theory")
    asked = []

    def compute(plan: Plan, x: str, y: str) -> dict[str, list[Curve]]:
        asked.append((plan, x, y))
        return {"tanh": [curve]}

    monkeypatch.setattr(study_figures, "compute_depth_scales", compute)
    analysis = analyse("phase-diagram", 1)
    image = draw_study_figures(analysis, kind="svg")[0].image
    assert asked == [(analysis.plan, "initializer.gain", "model.depth")]
    assert image != draw_study_figures(analysis, kind="svg", overlays=())[0].image


def test_no_depth_scale_is_drawn_over_other_axes_or_networks_that_are_not_plain() -> None:
    assert (
        theory_curves.compute_depth_scales(plan_phase_diagram(), "learning_rate", "model.depth")
        == {}
    )
    assert (
        theory_curves.compute_depth_scales(
            plan_phase_diagram(normalization="layer"), "initializer.gain", "model.depth"
        )
        == {}
    )
    assert (
        theory_curves.compute_depth_scales(
            plan_phase_diagram(initializer="xavier_normal"), "initializer.gain", "model.depth"
        )
        == {}
    )
