"""Frames, summaries and rankings of plans and results."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from study_cases import of_outcomes, plan_of, result_of, results_of

from fanin import seeds
from fanin.analysis.analysis import Analysis
from fanin.analysis.section_comparisons import compare_section
from fanin.analysis.summary import find_main_metric
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.report.tables.notes import write_notes

DIGITS = [("mlp", "digits")]


def with_accuracies(accuracies: dict[str, list[float | None]]) -> tuple[Plan, dict[str, Result]]:
    """One section whose test accuracies by replicate are given; None stands for a run that
    diverged.
    """
    plan = plan_of(DIGITS, tuple(accuracies), replicates=len(next(iter(accuracies.values()))))
    results = {}
    for planned in plan.cells:
        value = accuracies[planned.labels["initializer"]][planned.cell.replicate]
        result = result_of(planned.cell, "ok" if value is not None else "diverged")
        metrics = result.metrics | ({"test_accuracy": value} if value is not None else {})
        results[planned.cell.id] = replace(result, metrics=metrics)
    return plan, results


def test_every_planned_cell_has_a_row_in_the_plans_order():
    plan = plan_of()
    frame = Analysis(plan, of_outcomes(plan, "ok", None, "diverged", "failed")).frame
    assert frame["cell"].tolist() == [planned.cell.id for planned in plan.cells]
    assert frame["outcome"].tolist()[:4] == ["ok", "missing", "diverged", "failed"]
    assert frame["initializer"].tolist()[:2] == ["zero", "random_normal"]
    assert frame["seconds"].isna().tolist()[:2] == [False, True]
    assert math.isnan(frame["test_accuracy"][1])


def test_results_outside_the_plan_are_not_shown():
    plan, other = plan_of(DIGITS), plan_of([("cnn", "digits")])
    assert set(Analysis(plan, results_of(other)).frame["outcome"]) == {"missing"}


def test_an_empty_plan_gives_frames_without_rows():
    plan = plan_of([])
    assert (
        len(Analysis(plan, {}).frame)
        == len(Analysis(plan, {}).history)
        == len(Analysis(plan, {}).summary)
        == 0
    )


def test_a_label_of_two_values_never_merges_them():
    cells = [
        Cell(data="digits", model="mlp", initializer=spec)
        for spec in ("he_normal", "he_normal(truncated=true)")
    ]
    plan = replace(
        plan_of([]), cells=tuple(PlannedCell(cell, {"initializer": "he"}) for cell in cells)
    )
    assert Analysis(plan, {}).frame["initializer"].tolist() == [
        "he = he_normal",
        "he = he_normal(truncated=true)",
    ]
    assert len(Analysis(plan, {}).summary) == 2


def test_a_value_of_two_labels_is_shown_as_it_is():
    cells = [
        Cell(data="digits", model="mlp", initializer="zero", activation=name)
        for name in ("relu", "tanh")
    ]
    labelled = tuple(
        PlannedCell(cell, {"model": f"mlp(activation={cell.activation})"}) for cell in cells
    )
    frame = Analysis(replace(plan_of([]), cells=labelled), {}).frame
    assert frame["model"].tolist() == ["mlp", "mlp"]
    assert frame["activation"].tolist() == ["relu", "tanh"]


def test_history_has_a_row_per_cell_and_epoch():
    plan = plan_of([("mlp", "mnist"), ("regression", "california-housing")])
    results = of_outcomes(plan, "ok", "failed", None)
    history = Analysis(plan, results).history
    expected = sum(len(result.history.get("loss", [])) for result in results.values())
    assert len(history) == expected
    assert history.groupby("cell")["epoch"].min().eq(1).all()
    assert history["mae"].notna().sum() == history["val_mae"].notna().sum() > 0


def test_a_summary_has_mean_deviation_and_interval_over_the_replicates():
    plan, results = with_accuracies({"zero": [0.1, 0.2, 0.3, 0.4, 0.5], "he_normal": [0.9] * 5})
    zero = Analysis(plan, results).summary.iloc[0]
    assert (zero["planned"], zero["ok"], zero["divergence_rate"]) == (5, 5, 0.0)
    assert zero["test_accuracy"] == pytest.approx(0.3)
    assert zero["test_accuracy_sd"] == pytest.approx(math.sqrt(0.025))
    assert zero["test_accuracy_half_width"] == pytest.approx(
        2.776445 * math.sqrt(0.025 / 5), rel=1e-6
    )
    assert zero["mean_rank"] == 2.0


def test_where_a_replicate_diverged_there_is_no_mean_but_rate_median_and_rank():
    plan, results = with_accuracies({"zero": [0.1, 0.1, 0.1], "he_normal": [0.9, None, 0.8]})
    he = Analysis(plan, results).summary.iloc[1]
    assert math.isnan(he["test_accuracy"])
    assert math.isnan(he["test_accuracy_half_width"])
    assert he["divergence_rate"] == pytest.approx(1 / 3)
    assert he["test_accuracy_median"] == 0.8
    assert he["mean_rank"] == pytest.approx((1 + 2 + 1) / 3)


def test_a_metric_that_is_missing_in_one_replicate_leaves_that_replicate_out_and_is_told():
    plan, results = with_accuracies({"zero": [0.95, 0.1, 0.3], "he_normal": [0.9, 0.9, 0.9]})
    first = results[plan.cells[0].cell.id]
    metrics = {name: v for name, v in first.metrics.items() if name != "test_accuracy"}
    results[first.cell.id] = replace(
        first, metrics=metrics, data={**first.data, "missing_metrics": ["accuracy"]}
    )
    analysis = Analysis(plan, results)
    zero = analysis.summary.iloc[0]
    assert (zero["ok"], zero["test_accuracy"]) == (3, pytest.approx(0.2))
    assert zero["test_accuracy_median"] == pytest.approx(0.2)
    assert analysis.summary["mean_rank"].tolist() == [2.0, 1.0]
    assert any("accuracy is missing in 1 cells" in note.lower() for note in write_notes(analysis))


def test_ranks_use_only_replicates_in_which_every_cell_finished():
    plan, results = with_accuracies({"zero": [0.95, 0.1, 0.1], "he_normal": [0.9, 0.9, 0.9]})
    del results[plan.cells[0].cell.id]
    assert Analysis(plan, results).summary["mean_rank"].tolist() == [2.0, 1.0]


def test_a_summary_keeps_sections_together_whatever_the_plans_order():
    plan = plan_of([("mlp", "a"), ("cnn", "b")])
    shuffled = replace(plan, cells=plan.cells[::2] + plan.cells[1::2])
    models = Analysis(shuffled, {}).summary["model"].tolist()
    assert models == ["mlp"] * 6 + ["cnn"] * 6


def test_the_main_metric_is_the_test_metric_and_else_the_test_loss():
    plan = plan_of([("regression", "california-housing")])
    results = results_of(plan)
    assert find_main_metric(Analysis(plan, results).frame) == "test_mae"
    bare = {key: replace(result, metrics={"test_loss": 1.0}) for key, result in results.items()}
    assert find_main_metric(Analysis(plan, bare).frame) == "test_loss"
    assert find_main_metric(Analysis(plan, {}).frame) is None


def spread(center: float, n: int = 12) -> list[float | None]:
    return [center + 0.001 * math.sin(7 * i + center) for i in range(n)]


def test_a_clear_winner_over_ten_replicates_is_the_best():
    plan, results = with_accuracies(
        {"zero": spread(0.1), "he_normal": spread(0.95), "orthogonal": spread(0.9)}
    )
    [verdict] = Analysis(plan, results).comparisons
    assert (verdict.best, verdict.pairs, verdict.too_few) == ("he_normal", 12, False)


def test_for_an_error_the_lowest_is_the_best():
    plan = plan_of([("regression", "california-housing")], ("zero", "he_normal"), replicates=10)
    [verdict] = Analysis(plan, results_of(plan)).comparisons
    assert (verdict.metric, verdict.best) == ("test_mae", "he_normal")


def test_nine_replicates_name_no_best_however_clear():
    plan, results = with_accuracies({"zero": spread(0.1, 9), "he_normal": spread(0.95, 9)})
    [verdict] = Analysis(plan, results).comparisons
    assert verdict.best is None
    assert verdict.too_few
    assert 0 < verdict.detectable < 0.01


def test_ties_name_no_best():
    plan, results = with_accuracies({"zero": spread(0.5), "he_normal": spread(0.5)})
    assert Analysis(plan, results).comparisons[0].best is None


def test_an_initializer_that_diverged_once_is_not_the_best():
    plan, results = with_accuracies({"zero": spread(0.1), "he_normal": [None, *spread(0.95, 11)]})
    assert Analysis(plan, results).comparisons[0].best is None


def test_runs_of_different_environments_are_never_paired():
    plan, results = with_accuracies({"zero": spread(0.1), "he_normal": spread(0.95)})
    for planned in plan.cells[:8]:
        if planned.labels["initializer"] == "zero":
            old = results[planned.cell.id]
            results[planned.cell.id] = replace(
                old, environment=old.environment | {"device": "another CPU"}
            )
    [verdict] = Analysis(plan, results).comparisons
    assert (verdict.pairs, verdict.best) == (8, None)


def test_equal_initializers_are_told_apart_in_fewer_than_five_percent_of_studies():
    # 100 studies of 6 equal initializers, 10 replicates: at a rate of 0.05 more than 14 would be
    # seen with probability 1e-4; naming the best mean without a test would name one in all of them.
    plan = plan_of(DIGITS, replicates=10)
    [runs] = Analysis(plan, results_of(plan)).section_runs
    named = claimed = 0
    for study in range(100):
        draws = seeds.make_numpy_generator(study, "null").normal(0.9, 0.01, runs.values.shape)
        found = compare_section(replace(runs, values=draws))
        named += found.best is not None
        claimed += any(
            item.judgement in ("better", "worse") for item in (*found.differences, *found.beaten)
        )
    assert named <= claimed <= 14
