"""Crossed seeds: which studies have them, what their components are, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from study_cases import plan_of, result_of, results_of

from fanin import seeds
from fanin.analysis.analysis import Analysis
from fanin.analysis.statistics import estimate_components
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.report.results import Results
from fanin.study.study import Study

TABLES = {
    "name": "crossed",
    "base": {"model": "mlp(widths=[8], activation=relu)", "data": "digits"},
    "axes": {"initializer": ["he_normal"], "init_seed": [1, 2, 3], "order_seed": [7, 8, 9, 10]},
}


def make_crossed(**axes: object) -> tuple[Plan, dict[str, Result]]:
    """A study whose initial weights matter and whose order does not."""
    plan = Study.from_tables({**TABLES, "axes": {**TABLES["axes"], **axes}}).plan()  # type: ignore[dict-item]
    results = {}
    for planned in plan.cells:
        cell = planned.cell
        noise = seeds.make_numpy_generator(0, "crossed", cell.id).normal(0, 0.001)
        value = 0.9 + (cell.init_seed or 0) / 100 + float(noise)
        result = result_of(cell)
        results[cell.id] = replace(result, metrics={**result.metrics, "test_accuracy": value})
    return plan, results


def test_a_crossed_study_has_the_components_of_its_values():
    plan, results = make_crossed()
    [found] = Analysis(plan, results).seed_variances
    values = np.array(
        [results[planned.cell.id].metrics["test_accuracy"] for planned in plan.cells]
    ).reshape(3, 4)
    assert found.components == estimate_components(values, ["weights", "order"])
    assert (found.runs, found.missing, found.seeds) == (12, 0, ("weights", "order"))
    assert found.components is not None
    assert found.components.get("weights").share > 0.9


def test_the_answer_and_the_table_say_what_each_seed_adds():
    results = Results(*make_crossed())
    [line] = results.verdict().lines
    assert line.startswith("runs of he_normal differ by 0.0099 (sd) around 0.92")
    assert "Of this variance weights 99 % (95 %: 94 to 100 %)" in line
    table = results.variance_table()
    assert [row[1].text for row in table.rows] == ["weights", "order", "weights × order"]
    assert sum(float(row[3].value or 0) for row in table.rows) == pytest.approx(1)
    assert results.verdict().to_json()["variance"] == [line]
    spread = [entry.spread for entry in results.table().rows[0] if entry.spread is not None]
    [deviation] = results.summary()["test_accuracy_sd"]
    assert results.summary()["test_accuracy_half_width"].isna().all()
    assert deviation in spread
    assert "have no interval" not in str(results)
    assert "has no interval" in " ".join(str(results).split())


def test_a_combination_without_a_value_leaves_no_components_and_is_counted():
    plan, results = make_crossed()
    first, second, *_ = results
    results[first] = result_of(plan.cells[0].cell, "diverged")
    del results[second]
    [found] = Analysis(plan, results).seed_variances
    assert (found.missing, found.components) == (2, None)
    assert "2 of 12 combinations of seeds have no test accuracy" in str(
        Results(plan, results).verdict()
    )
    assert not Results(plan, results).variance_table().rows


def test_several_values_have_components_each_and_are_not_compared():
    results = Results(*make_crossed(initializer=["he_normal", "zero"]))
    assert [found.value for found in results.analysis.seed_variances] == ["he_normal", "zero"]
    assert results.analysis.comparisons == ()
    assert "no independent replicates" in str(results.verdict())
    assert len(results.differences(metric="test_loss")) == 0


def test_replicates_and_seeds_that_are_not_crossed_have_none():
    plan = plan_of([("mlp", "digits")], replicates=6)
    assert Analysis(plan, results_of(plan)).seed_variances == ()
    crossed, results = make_crossed()
    part = replace(crossed, cells=crossed.cells[:11])
    assert Analysis(part, results).seed_variances == ()
    one = make_crossed(order_seed=[7])
    assert Analysis(*one).seed_variances == ()


def test_the_built_in_study_crosses_four_seeds():
    plan = Study.load("variance").plan()
    [found] = Analysis(plan, {p.cell.id: result_of(p.cell) for p in plan.cells}).seed_variances
    assert found.seeds == ("weights", "order", "dropout", "split")
    assert found.runs == len(plan.cells) == 625
    assert found.components is not None
    assert not math.isnan(found.components.mean)
