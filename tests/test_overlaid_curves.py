"""Overlaid curves: what is drawn of each condition, and what stands for it if a run diverged."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from scipy import stats
from study_cases import of_outcomes, plan_of, results_of

from fanin.analysis.analysis import Analysis
from fanin.report.figures.gathered_curves import gather_curves
from fanin.report.figures.overlaid_curves import compute_band, draw_overlaid_curves
from fanin.report.figures.rendering import break_text
from fanin.report.results import Results

DIGITS = [("mlp", "digits")]


@pytest.mark.parametrize("replicates", [3, 6])
def test_a_band_is_the_means_interval_or_the_range_over_the_epochs_that_all_have(replicates: int):
    plan = plan_of(DIGITS, ("he_normal",), replicates=replicates)
    results = [*results_of(plan).values()]
    band = compute_band(gather_curves(results), "val_accuracy")
    assert band is not None
    epochs = min(len(result.history["val_accuracy"]) for result in results)
    at = np.array([result.history["val_accuracy"][:epochs] for result in results])
    np.testing.assert_allclose(band.middle, at.mean(axis=0))
    if replicates == 3:
        np.testing.assert_allclose((band.low, band.high), (at.min(axis=0), at.max(axis=0)))
    else:
        half = stats.t.ppf(0.975, 5) * at.std(axis=0, ddof=1) / math.sqrt(6)
        np.testing.assert_allclose(band.high - band.middle, half)


def test_a_condition_with_a_diverged_run_has_lines_and_no_mean():
    plan = plan_of(DIGITS, ("he_normal",), replicates=3)
    results = of_outcomes(plan, "ok", "diverged", "ok").values()
    band = compute_band(gather_curves(results), "val_accuracy")
    assert band is not None
    assert not band.has_mean
    assert len(band.replicates) == 3
    assert compute_band(gather_curves([]), "val_accuracy") is None


def test_each_panel_has_a_line_and_a_band_for_every_value():
    plan = plan_of(replicates=5)
    figure = draw_overlaid_curves(Analysis(plan, results_of(plan)))
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 9
    for axes in panels:
        assert len(axes.lines) == 6
        assert len({line.get_color() for line in axes.lines}) == 6
        assert sum(isinstance(item, PolyCollection) for item in axes.collections) == 6
    assert "95 % interval of the mean" in [t.get_text() for t in figure.legends[0].get_texts()]


@pytest.mark.parametrize("outcomes", [["failed"], [None], ["diverged"], ["ok", None]])
def test_every_store_has_an_overlay_or_a_message(tmp_path: Path, outcomes: list[str | None]):
    plan = plan_of(DIGITS, replicates=2)
    results = Results(plan, of_outcomes(plan, *outcomes))  # type: ignore[arg-type]
    assert results.overlay(tmp_path / "o.png").stat().st_size > 1000


def draw_losses(*columns: list[float]) -> Axes:
    """The panel of regressions whose replicates have these validation errors by epoch."""
    plan = plan_of([("regression", "diabetes")], ("he_normal",), replicates=len(columns))
    results = {
        planned.cell.id: replace(
            result, history={"loss": column, "val_loss": column, "mae": column, "val_mae": column}
        )
        for (planned, result), column in zip(
            zip(plan.cells, results_of(plan).values(), strict=True), columns, strict=True
        )
    }
    return draw_overlaid_curves(Analysis(plan, results)).axes[0]


def test_an_error_whose_means_span_a_factor_of_ten_has_a_logarithmic_axis():
    steep = draw_losses([100.0, 30.0, 8.0], [100.0, 32.0, 9.0])
    assert steep.get_yscale() == "log"
    assert steep.get_ylabel().endswith("log)")
    flat = draw_losses([100.0, 50.0, 20.0], [100.0, 52.0, 21.0])
    assert flat.get_yscale() == "linear"
    assert "log" not in flat.get_ylabel()


def test_a_band_that_reaches_below_zero_does_not_make_the_axis_linear():
    columns = [[100.0, 0.5 + 6 * (number == 0)] for number in range(6)]
    axes = draw_losses(*columns)
    (band,) = (item for item in axes.collections if isinstance(item, PolyCollection))
    assert band.get_paths()[0].vertices[:, 1].min() < 0
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert 0 < low < 1.5
    assert high > 100


def test_a_long_unit_stands_in_a_line_of_its_own():
    assert break_text("loss (log)", 2.0, 8) == "loss (log)"
    title = "validation MAE (points of disease progression, log)"
    assert break_text(title, 2.6, 8) == "validation MAE\n(points of disease progression, log)"
    assert "…" in break_text("x" * 200, 2.0, 8)
