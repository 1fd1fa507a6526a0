"""Overlaid curves: what is drawn of each condition, and what stands for it if a run diverged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from scipy import stats
from study_cases import of_outcomes, plan_of, results_of

from fanin.analysis.analysis import Analysis
from fanin.report.figures.gathered_curves import gather_curves
from fanin.report.figures.overlaid_curves import compute_band, draw_overlaid_curves
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
