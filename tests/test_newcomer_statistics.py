"""Unpaired groups, and a newcomer beside baselines in synthetic results with a known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from study_cases import plan_of, result_of

from fanin import seeds
from fanin.analysis import statistics
from fanin.analysis.analysis import Analysis
from fanin.analysis.newcomer_comparison import NewcomerSection, compare_newcomer
from fanin.cell.result import Result, describe_key_difference

NEW = "lecun_normal"


def draw(*shape: int, name: str = "x") -> np.ndarray:
    z = seeds.standard_normal(shape, seeds.make_generator(0, "newcomer test", name))
    return z.double().numpy()


def compare(
    accuracies: dict[str, np.ndarray | list[float | None]], *, torch: str = "2", data: str = "a"
) -> NewcomerSection:
    """The comparison of one section; the newcomer's environment and data are given."""
    count = len(next(iter(accuracies.values())))
    plan = plan_of([("mlp", "digits")], tuple(accuracies), replicates=count)
    found: dict[str, Result] = {}
    for planned in plan.cells:
        value = accuracies[planned.labels["initializer"]][planned.cell.replicate]
        result = result_of(planned.cell, "ok" if value is not None else "diverged")
        is_new = planned.labels["initializer"] == NEW
        result = replace(
            result,
            metrics={**result.metrics, **({} if value is None else {"test_accuracy": value})},
            environment={**result.environment, "torch": torch if is_new else "2"},
            data={**result.data, "fingerprint": data if is_new else "a"},
        )
        found[planned.cell.id] = result
    (section,) = compare_newcomer(Analysis(plan, found).section_runs, NEW)
    return section


def test_groups_are_compared_as_welch_does() -> None:
    first, second = draw(12, name="a") + 0.5, 3 * draw(17, name="b")
    found = statistics.compare_groups(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.mean == pytest.approx(first.mean() - second.mean())


def test_groups_with_diverged_runs_are_compared_by_rank() -> None:
    first, second = draw(12, name="a"), draw(10, name="b")
    found = statistics.compare_groups(first, second, (0, 2))
    expected = stats.mannwhitneyu(first, [*second, -99, -99], alternative="two-sided")
    assert found.p == pytest.approx(expected.pvalue)
    assert math.isnan(found.mean)
    assert statistics.compare_groups([], [], (10, 10)).p == 1.0


def test_few_runs_of_a_group_give_no_p_and_very_few_no_interval() -> None:
    few = statistics.compare_groups(draw(9), draw(20))
    assert math.isnan(few.p)
    assert math.isfinite(few.low)
    assert math.isnan(statistics.compare_groups(draw(4), draw(20)).low)
    assert math.isnan(statistics.compare_groups([1.0], [2.0]).sd)


def test_groups_of_constants_differ_or_do_not() -> None:
    assert statistics.compare_groups([1.0] * 10, [1.0] * 10).p == 1.0
    assert statistics.compare_groups([1.0] * 10, [2.0] * 10).p == 0.0


def test_the_interval_of_two_groups_covers_the_true_difference() -> None:
    """4,000 pairs of groups of 10 and 10, spreads 1 and 3: 95 % ± 1.4 (four standard errors)."""
    first, second = draw(4000, 10, name="c") + 1, 3 * draw(4000, 10, name="d")
    found = [statistics.compare_groups(a, b) for a, b in zip(first, second, strict=True)]
    covered = sum(item.low <= 1 <= item.high for item in found) / len(found)
    assert covered == pytest.approx(0.95, abs=0.014)
    planted = sum(item.low <= 1.5 <= item.high for item in found) / len(found)
    assert planted < covered - 0.014


def test_a_newcomer_is_paired_in_one_environment() -> None:
    base = 0.9 + 0.05 * draw(10, name="e")
    section = compare({NEW: base + 0.01, "zero": base, "he_normal": base + 0.02})
    items = {item.baseline: item for item in section.against}
    assert {item.pairing for item in section.against} == {"paired"}
    assert items["zero"].judgement == "better"
    assert items["zero"].difference.mean == pytest.approx(0.01)
    assert items["he_normal"].judgement == "worse"
    assert items["he_normal"].difference.low == pytest.approx(-0.01)
    # Holm over two baselines of exact tests of ten pairs with one sign
    assert items["zero"].difference.p_holm == pytest.approx(2 * 2 / 2**10)


def test_the_same_difference_is_not_told_without_pairs() -> None:
    """What pairs show, a spread of five times the difference hides from two groups."""
    base = 0.9 + 0.05 * draw(10, name="e")
    section = compare({NEW: base + 0.01, "zero": base}, torch="1")
    (item,) = section.against
    assert (item.pairing, item.judgement) == ("unpaired", "cannot tell")
    assert item.difference.mean == pytest.approx(0.01)
    assert item.difference.needed is not None
    (clear,) = compare({NEW: base + 0.2, "zero": base}, torch="1").against
    assert clear.judgement == "better"
    (worse,) = compare({NEW: base - 0.2, "zero": base}, torch="1").against
    assert (worse.judgement, worse.difference.low < worse.difference.high < 0) == ("worse", True)


def test_without_pairs_a_difference_is_claimed_in_one_of_twenty_comparisons_at_most() -> None:
    """2,000 comparisons of two groups of 10 without a difference: 5 % ± 2 (four standard errors);
    a planted difference of one standard deviation is claimed far more often.
    """
    first, second = draw(2000, 10, name="f"), draw(2000, 10, name="g")
    claimed = sum(
        statistics.compare_groups(*rows).p <= 0.05 for rows in zip(first, second, strict=True)
    )
    planted = sum(
        statistics.compare_groups(*rows).p <= 0.05 for rows in zip(first + 1, second, strict=True)
    )
    assert claimed / 2000 <= 0.07
    assert planted / 2000 > 0.4


def test_other_data_are_not_compared() -> None:
    values = 0.9 + 0.05 * draw(10, name="e")
    (item,) = compare({NEW: values, "zero": values}, data="b").against
    assert (item.pairing, item.judgement) == ("other data", "other data")


def test_a_diverged_newcomer_loses() -> None:
    values: list[float | None] = [float(0.9 + 0.01 * i) for i in range(10)]
    lost: list[float | None] = [None] * 10
    paired = compare({NEW: lost, "zero": values})
    assert [item.judgement for item in paired.against] == ["worse"]
    assert paired.diverged == paired.planned == 10
    (unpaired,) = compare({NEW: lost, "zero": values}, torch="1").against
    assert (unpaired.pairing, unpaired.judgement) == ("unpaired", "worse")
    (winner,) = compare({NEW: values, "zero": lost}, torch="1").against
    assert winner.judgement == "better"


def test_what_differs_between_environments_is_told_part_by_part() -> None:
    ours = "cpu A | 3 | 2.13 | 1 | ? | float32"
    theirs = [
        "cpu A | 2 | 2.13 | 1 | default | float32",
        "cpu B | 1 | 2.13 | 1 | onednn | float32",
    ]
    told = describe_key_difference(theirs, ours)
    assert told == "device cpu B, here cpu A; engine 1 or 2, here 3"
