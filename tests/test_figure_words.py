"""Figures say what is measured in what, what is missing, and which letters they cannot draw."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from combinations import for_each
from matplotlib.font_manager import fontManager
from study_cases import plan_of, result_of
from test_report_figures import read_texts

from fanin.analysis.analysis import Analysis
from fanin.analysis.units import find_unit
from fanin.cell.plan import Plan, PlannedCell
from fanin.experiment import make_plan
from fanin.report.figures import letter_fonts
from fanin.report.figures.dot_plot import draw_dot_plot
from fanin.report.figures.heat_map import draw_heat_map
from fanin.report.figures.rendering import render
from fanin.report.figures.response_curves import draw_response_curves
from fanin.report.figures.scales import FactorScale, compute_edges, fit_scale
from fanin.report.figures.training_curves import _draw_grid, _make_panels, _PanelRow

MLP = "mlp(widths=[8], activation=relu)"


def analyse(metric: str, score: Callable[[PlannedCell], float | None], **tables: Any) -> Analysis:
    """A study whose results are scores; None leaves a cell without a result."""
    plan = make_plan(tables)
    results = {}
    for planned in plan.cells:
        value = score(planned)
        if value is not None:
            metrics = {"epochs": 4.0, "best_epoch": 2.0, "test_loss": 1.0, metric: value}
            results[planned.cell.id] = replace(result_of(planned.cell), metrics=metrics)
    return Analysis(plan, results)


def analyse_housing(data: str = "california-housing") -> Analysis:
    """Two models with other initializers each; nothing has run with orthogonal."""
    grids = [
        {"model": ["regression"], "initializer": ["zero", "he_normal", "orthogonal"]},
        {"model": [MLP], "initializer": ["he_normal", "lecun_normal"]},
    ]
    return analyse(
        "test_mae",
        lambda p: None if p.labels["initializer"] == "orthogonal" else 5e4 + p.cell.replicate,
        base={"data": data},
        grid=grids,
        replicates=3,
    )


@for_each(
    "data, metric, unit",
    [
        ("california-housing", "test_mae", "$"),
        ("california-housing", "val_loss", "$²"),
        ("diabetes", "mae", "points of disease progression"),
        ("diabetes", "loss", ""),
        ("mnist", "test_accuracy", ""),
        ("rows(of=mnist)", "test_mae", ""),
        ("my_data.py:make(n=3)", "test_mae", ""),
        ("my-data", "test_mae", ""),
        ("not a spec (", "test_mae", ""),
    ],
)
def test_the_unit_of_a_metric_is_that_of_its_data(data: str, metric: str, unit: str) -> None:
    assert find_unit(data, metric) == unit


def test_the_axis_of_an_error_carries_its_unit_and_says_that_lower_is_better() -> None:
    assert "test MAE ($), lower is better" in read_texts(draw_dot_plot(analyse_housing()))
    accuracy = Analysis(
        plan := plan_of([("mlp", "digits")]), {p.cell.id: result_of(p.cell) for p in plan.cells}
    )
    assert "is better" not in read_texts(draw_dot_plot(accuracy))


def test_response_curves_and_heat_maps_carry_the_unit_too() -> None:
    analysis = analyse(
        "test_mae",
        lambda p: 5e4 + p.cell.batch_size,
        base={"data": "california-housing", "model": "regression"},
        axes={"initializer": ["zero", "he_normal"], "batch_size": [16, 32, 64]},
    )
    curves = draw_response_curves(analysis, "batch_size")
    colours = draw_heat_map(analysis, "batch_size", "initializer")
    for figure in (curves, colours):
        assert "test MAE ($), lower is better" in read_texts(figure)


def test_training_curves_carry_the_units_of_loss_and_error() -> None:
    plan = plan_of([("regression", "california-housing")], ("zero", "orthogonal"))
    analysis = Analysis(plan, {p.cell.id: result_of(p.cell) for p in plan.cells})
    panels = _make_panels(analysis.frame, "initializer", analysis.results)
    figure = _draw_grid("s", [_PanelRow("", panels)], ["zero", "orthogonal"], "initializer")
    texts = read_texts(figure)
    assert "MAE ($" in texts
    assert "loss ($²" in texts


def test_an_empty_row_of_a_dot_plot_says_why() -> None:
    texts = read_texts(draw_dot_plot(analyse_housing()))
    assert texts.count("not in this study") == 3
    assert texts.count("no result") == 1


def test_an_empty_cell_of_a_heat_map_says_why() -> None:
    analysis = analyse(
        "test_accuracy",
        lambda p: None if p.cell.batch_size == 64 else 0.5 + p.cell.batch_size / 1e3,
        base={"data": "digits", "model": MLP},
        axes={"initializer": ["zero", "he_normal"], "batch_size": [16, 32, 64]},
        exclude=[{"initializer": "zero", "batch_size": 16}],
    )
    texts = read_texts(draw_heat_map(analysis, "batch_size", "initializer"))
    assert "· not in this study   – no result" in texts
    assert texts.split(" / ").count("·") == 1
    assert texts.split(" / ").count("–") == 2


def test_zero_beside_magnitudes_has_a_place_of_its_own() -> None:
    values = [0.0, 1e-5, 1e-4, 1e-3, 1e-2]
    scale = FactorScale.choose(values)
    positions = [scale.to_position(value) for value in values]
    assert positions == pytest.approx([0, 1, 2, 3, 4])
    assert [scale.to_value(position) for position in positions] == pytest.approx(values)
    edges = compute_edges(values, scale)
    assert all(
        low < value < high for low, value, high in zip(edges, values, edges[1:], strict=False)
    )
    for other in ([0.0, 1.0, 2.0], [-1.0, 1e-3, 1.0, 1e3], [0.0, 0.5], [0.0]):
        assert not FactorScale.choose(other).log
    metric = fit_scale([0.0, 1e-6, 1.0])
    assert (metric.log, metric.smallest) == (True, 1e-6)
    assert metric.format_title("loss") == "loss (log, 0 apart)"
    assert not fit_scale([0.0, 0.5, 1.0]).log


def test_an_axis_with_zero_and_magnitudes_is_drawn_and_labelled() -> None:
    decays = [0, 1e-5, 1e-4, 1e-3, 1e-2]
    analysis = analyse(
        "test_mae",
        lambda p: 0.0 if p.labels["optimizer.weight_decay"] == "0" else 10.0 ** len(p.labels),
        base={"data": "california-housing", "model": "regression", "optimizer": "adamw"},
        axes={"initializer": ["zero", "he_normal"], "optimizer.weight_decay": decays},
    )
    curves = draw_response_curves(analysis, "optimizer.weight_decay")
    texts = read_texts(curves)
    assert "weight decay (log, 0 apart)" in texts
    ticks = curves.axes[0].get_xticks()
    assert list(ticks) == pytest.approx(decays)
    transform = curves.axes[0].transData.transform
    steps = [transform((value, 1))[0] for value in decays]
    gaps = np.diff(steps)
    assert max(gaps) == pytest.approx(min(gaps), rel=0.01)
    heat = draw_heat_map(analysis, "optimizer.weight_decay", "initializer")
    assert "weight decay (log, 0 apart)" in read_texts(heat)
    assert render(heat, "png")
    assert render(draw_dot_plot(analysis), "png")


def label_plan(label: str) -> Plan:
    return plan_of([("mlp", "digits")], (label, "zero"))


def draw_label(label: str) -> Any:
    plan = label_plan(label)
    return draw_dot_plot(Analysis(plan, {p.cell.id: result_of(p.cell) for p in plan.cells}))


def test_letters_that_no_font_has_are_told_below_the_figure() -> None:
    figure = draw_label("𒀀𒀁 初")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(figure, "png")
    told = [text.get_text() for text in figure.texts if text.get_text().startswith("Boxes")]
    lost = [letter for letter in "𒀀𒀁初" if not letter_fonts._find_font(letter)]
    assert bool(told) == bool(lost)
    assert all(f"U+{ord(letter):04X}" in told[0] for letter in lost)


def test_a_font_that_has_the_letter_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = {entry.name for entry in fontManager.ttflist}
    assert "STIXGeneral" in fonts
    letter_fonts._find_font.cache_clear()
    others = [entry for entry in fontManager.ttflist if "DejaVu" not in entry.name]
    monkeypatch.setattr(fontManager, "ttflist", others)
    assert letter_fonts._find_font("Ж") == "STIXGeneral"
    figure = draw_label("Ж")
    letter_fonts.use_fonts_for(figure, "Ж")
    letter_fonts._find_font.cache_clear()
    found = figure.findobj(lambda artist: getattr(artist, "get_text", str)() == "Ж")
    assert any("STIXGeneral" in text.get_fontfamily() for text in found)
    assert not any(text.get_text().startswith("Boxes") for text in figure.texts)


def test_plain_letters_cost_no_second_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_label("plain")
    monkeypatch.setattr("fanin.report.figures.rendering.use_fonts_for", math.nan)
    assert render(figure, "svg")
