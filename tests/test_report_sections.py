"""What the page's figures and lists hold, as data: numbers by hand, and what is left out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_cases import plan_of, result_of, results_of

from fanin.analysis.analysis import Analysis
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.report.results import Results
from fanin.report.sections.cell_columns import list_cell_columns
from fanin.report.sections.condition_figures import make_condition_figures
from fanin.report.sections.curve_figure import make_curve_figure
from fanin.report.sections.difference_figure import make_difference_figure
from fanin.report.sections.page_figure import encode_json, pick_places, round_number
from fanin.report.sections.provenance import list_flaws
from fanin.report.sections.rank_figure import make_rank_figure
from fanin.report.sections.result_rows import arrange_rows
from fanin.report.sections.signal_figures import make_signal_figures
from fanin.report.sections.tuning_figure import make_tuning_figure
from fanin.report.tables.table import Column, Table, TableEntry


def analyse_curves(curves: list[list[float]], **fields: Any) -> Analysis:
    """One condition whose replicates have these validation accuracies."""
    plan = plan_of([("mlp", "mnist")], ("he_normal",), replicates=len(curves))
    found = {}
    for planned, curve in zip(plan.cells, curves, strict=True):
        history = {"loss": curve, "val_loss": curve, "accuracy": curve, "val_accuracy": curve}
        found[planned.cell.id] = replace(result_of(planned.cell), history=history, **fields)
    return Analysis(plan, found)


def get_line(analysis: Analysis, key: str = "val_metric") -> dict[str, Any]:
    figure = make_curve_figure(analysis)
    assert figure is not None
    line: dict[str, Any] = figure.data["panels"][0]["lines"][0]["m"][key]
    return line


def test_a_band_is_the_95_percent_interval_of_the_mean_from_five_replicates_on() -> None:
    # 1, 2, 3, 4, 5: mean 3, sd √2.5, t(0.975, 4) = 2.776445, half-width 1.963243
    line = get_line(analyse_curves([[float(n)] for n in range(1, 6)]))
    assert line["y"] == [3]
    assert line["lo"] == [pytest.approx(3 - 1.963243, abs=1e-5)]
    assert line["hi"] == [pytest.approx(3 + 1.963243, abs=1e-5)]
    assert line["kind"] == "interval"


def test_a_band_is_the_range_below_five_replicates() -> None:
    line = get_line(analyse_curves([[0.5, 1.0], [0.7, 3.0], [0.6, 2.0]]))
    assert line["y"] == [0.6, 2]
    assert (line["lo"], line["hi"], line["kind"]) == ([0.5, 1], [0.7, 3], "range")


def test_one_replicate_has_a_line_and_no_band() -> None:
    line = get_line(analyse_curves([[0.5, 0.6]]))
    assert line == {"y": [0.5, 0.6]}


def test_the_mean_ends_where_the_first_replicate_stops() -> None:
    line = get_line(analyse_curves([[1.0, 2.0, 3.0], [3.0, 4.0]]))
    assert line["y"] == [2, 3]
    assert line["runs"] == [[1, 2, 3], [3, 4]]


def test_a_condition_with_a_diverged_replicate_has_no_mean_but_its_replicates() -> None:
    plan = plan_of([("mlp", "mnist")], ("he_normal",), replicates=2)
    first, second = (planned.cell for planned in plan.cells)
    found = {first.id: result_of(first), second.id: result_of(second, "diverged")}
    figure = make_curve_figure(Analysis(plan, found))
    assert figure is not None
    line = figure.data["panels"][0]["lines"][0]
    assert line["diverged"] == 1
    assert line["m"]["val_metric"]["y"] == []
    assert len(line["m"]["val_metric"]["runs"]) == 2
    assert line["m"]["val_metric"]["stops"] == [4]
    assert None in line["m"]["loss"]["runs"][1]  # the nan in which it ended
    assert "× marks" in figure.caption


def test_long_curves_are_thinned_and_keep_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.report.sections.curve_figure._MAX_POINTS", 5)
    line = get_line(analyse_curves([[float(n) for n in range(1, 101)]]))
    assert line["x"] == line["y"] == [1, 26, 51, 75, 100]


def test_a_figure_that_would_hold_too_many_numbers_leaves_single_replicates_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fanin.report.sections.curve_figure.MAX_NUMBERS", 100)
    line = get_line(analyse_curves([[0.5] * 20 for _ in range(6)]))
    assert line["runs"] == []
    assert len(line["y"]) == 12


def test_panels_that_are_left_out_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.report.sections.curve_figure.MAX_PANELS", 1)
    plan = plan_of([("mlp", "mnist"), ("mlp", "cifar10")])
    figure = make_curve_figure(Analysis(plan, results_of(plan)))
    assert figure is not None
    assert len(figure.data["panels"]) == 1
    assert "the first 1 of 2 panels" in figure.caption


def test_places_are_spread_evenly_from_the_first_to_the_last() -> None:
    assert pick_places(3, 5) == [0, 1, 2]
    assert pick_places(9, 3) == [0, 4, 8]


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.123456789, 0.123457), (2.0, 2), (1e20, 1e20), (math.nan, None), (-math.inf, None)],
)
def test_numbers_have_six_digits_and_none_stands_for_what_is_not_finite(
    value: float, rounded: float | None
) -> None:
    assert round_number(value) == rounded


def test_json_holds_nothing_that_ends_its_element() -> None:
    text = encode_json({"</script>": ["<!--", "&amp;", "\u2028"]})
    assert not set(text) & set("<>&")
    assert json.loads(text) == {"</script>": ["<!--", "&amp;", "\u2028"]}


def test_ranks_over_problems_are_those_of_the_analysis() -> None:
    pairs = [("mlp", "mnist"), ("mlp", "cifar10"), ("cnn", "mnist")]
    plan = plan_of(pairs, ("zero", "he_normal", "orthogonal"))
    analysis = Analysis(plan, results_of(plan))
    figure = make_rank_figure(analysis)
    assert figure is not None
    ranks = {row["c"]: row["rank"] for row in figure.data["panels"][0]["rows"]}
    found = analysis.problem_ranks
    assert found is not None
    assert [ranks[i] for i in range(3)] == pytest.approx(found.comparison.ranks)
    assert "Descriptive" in figure.caption


def test_two_problems_make_no_ranks() -> None:
    plan = plan_of([("mlp", "mnist"), ("cnn", "mnist")])
    assert make_rank_figure(Analysis(plan, results_of(plan))) is None


def test_differences_have_intervals_and_those_far_away_an_arrow() -> None:
    plan = plan_of([("mlp", "mnist")], replicates=5)
    figure = make_difference_figure(Analysis(plan, results_of(plan)))
    assert figure is not None
    rows = {figure.data["names"][row["c"]]: row for row in figure.data["panels"][0]["rows"]}
    assert rows["zero"]["far"] == -1
    assert rows["orthogonal"]["lo"] < rows["orthogonal"]["y"] < rows["orthogonal"]["hi"]
    assert "he_normal" not in rows


def test_single_replicates_have_no_figure_of_differences() -> None:
    plan = plan_of([("mlp", "mnist")])
    assert make_difference_figure(Analysis(plan, results_of(plan))) is None


def plan_tuned() -> tuple[Plan, dict[str, Result]]:
    """Two initializers with rates of their own, and the trials that chose them."""
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal"))
    rates = {"zero": 0.1, "he_normal(truncated=true)": 0.01}
    cells = tuple(
        PlannedCell(replace(p.cell, learning_rate=rates[p.cell.initializer], tuned=True), p.labels)
        for p in plan.cells
    )
    found = {p.cell.id: result_of(p.cell) for p in cells}
    for planned in plan.cells:
        for rate in (0.001, 0.01, 0.1):
            for replicate in range(2):
                trial = replace(
                    planned.cell, learning_rate=rate, replicate=replicate, seed=123 + replicate
                )
                metrics = {"val_loss": rate * 10 + replicate, "test_accuracy": 0.5}
                found[trial.id] = replace(result_of(trial), metrics=metrics)
    return replace(plan, cells=cells), found


def test_trials_of_a_tuned_study_are_its_learning_rate_sensitivity() -> None:
    figure = make_tuning_figure(Analysis(*plan_tuned()))
    assert figure is not None
    (panel,) = figure.data["panels"]
    assert [line["c"] for line in panel["lines"]] == [0, 1]
    line = panel["lines"][0]["m"]["y"]
    assert line["x"] == [0.001, 0.01, 0.1]
    assert line["y"] == [0.51, 0.6, 1.5]
    assert (line["lo"], line["hi"]) == ([0.01, 0.1, 1], [1.01, 1.1, 2])


def test_a_trial_that_diverged_is_marked() -> None:
    plan, found = plan_tuned()
    trial = next(
        r.cell for r in found.values() if r.cell.seed == 124 and r.cell.learning_rate == 0.1
    )
    found[trial.id] = result_of(trial, "diverged")
    figure = make_tuning_figure(Analysis(plan, found))
    assert figure is not None
    line = figure.data["panels"][0]["lines"][0]["m"]["y"]
    assert line["lost"] == [0, 0, 1]
    assert line["y"][-1] == 1
    assert "× marks" in figure.caption


def test_without_trials_or_tuning_there_is_no_sensitivity() -> None:
    plan, found = plan_tuned()
    own = {planned.cell.id: found[planned.cell.id] for planned in plan.cells}
    assert make_tuning_figure(Analysis(plan, own)) is None
    fixed = plan_of([("mlp", "mnist")])
    assert make_tuning_figure(Analysis(fixed, results_of(fixed))) is None


def test_signals_are_shown_by_layer_and_over_time() -> None:
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal"))
    cells = tuple(PlannedCell(replace(p.cell, signals=True), p.labels) for p in plan.cells)
    found = {}
    for planned in cells:
        history = dict(result_of(planned.cell).history)
        epochs = len(history["loss"])
        for place, layer in enumerate(("first", "second")):
            for name, value in (("rms", 1.0), ("weight_norm", 2.0), ("gradient_rms", 3.0)):
                column = [value + place] * (epochs - 1) + [10.0 * value + place]
                history[f"signal.{name}.{place}.{layer}"] = column
        found[planned.cell.id] = replace(result_of(planned.cell), history=history)
    analysis = Analysis(replace(plan, cells=cells), found)
    by_layer, _, heat = make_signal_figures(analysis)
    panel = by_layer.data["panels"][0]
    assert panel["places"] == ["first", "second"]
    assert panel["lines"][1]["m"]["rms.start"] == {"x": [1, 2], "y": [1, 2]}
    assert panel["lines"][1]["m"]["rms.end"] == {"x": [1, 2], "y": [10, 11]}
    first, second = heat.data["panels"]
    epochs = len(first["x"]["labels"])
    assert [row[0] for row in first["m"]["gradient_rms"]["cells"]] == [3, 4]
    assert [row[-1] for row in first["m"]["gradient_rms"]["cells"]] == [30, 31]
    assert first["m"]["gradient_rms"]["extent"] == second["m"]["gradient_rms"]["extent"] == [3, 31]
    assert first["y"]["edges"] == [1, 0.5, 0]
    assert len(first["x"]["edges"]) == epochs + 1
    curves = make_curve_figure(analysis)
    assert curves is not None
    assert [m["key"] for m in curves.data["metrics"]] == [
        "val_metric",
        "metric",
        "val_loss",
        "loss",
    ]


def test_without_signals_there_are_no_figures_of_them() -> None:
    plan = plan_of([("mlp", "mnist")])
    assert make_signal_figures(Analysis(plan, results_of(plan))) == []


def test_messages_are_written_once_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.report.sections.cell_columns._MESSAGE", 10)
    plan = plan_of([("mlp", "mnist")])
    found = {p.cell.id: result_of(p.cell, "failed", message="x" * 50) for p in plan.cells}
    listed = list_cell_columns(Analysis(plan, found).frame, [("initializer", "initializer")])
    assert listed["texts"] == ["x" * 9 + "…"]
    assert listed["messages"] == dict.fromkeys(range(6), 0)


def test_rows_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanin.report.sections.result_rows.MAX_ROWS", 2)
    columns = (Column("data", "data", False, heads_section=True), Column("name", "name", False))
    rows = tuple((TableEntry("d", "d"), TableEntry(name, name)) for name in "abc")
    shown = arrange_rows(Table("t", columns, rows))
    assert (shown.shown, shown.total) == (2, 3)
    assert [section.heading for section in shown.sections] == ["d"]
    assert [one.factor for one in shown.filters] == ["name"]


def test_the_flaw_of_a_protocol_is_on_the_page_and_sound_ones_have_none(tmp_path: Path) -> None:
    plan = plan_of([("mlp", "mnist")])
    assert "look at the test set" in list_flaws(plan)[0]
    text = Results(plan, results_of(plan)).report(tmp_path / "p.html").read_text("utf-8")
    assert '<div class="flaw" role="note">' in text
    sound = tuple(PlannedCell(replace(p.cell, protocol="sound"), p.labels) for p in plan.cells)
    assert list_flaws(replace(plan, cells=sound)) == []


def test_the_figures_of_the_page_are_those_beside_it(tmp_path: Path) -> None:
    plan = plan_of([("mlp", "mnist"), ("cnn", "mnist")], replicates=5)
    results = Results(plan, results_of(plan), tmp_path)
    drawn = results.figures(tmp_path)
    made = make_condition_figures(results.analysis)
    words = [figure.title.lower().replace(" ", "-") for figure in made]
    assert len(words) == len(drawn)
    assert all(word in path.name for word, path in zip(words, drawn, strict=True))
