"""Comparisons of a section's values with the reference, and with the leader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from study_cases import of_outcomes, plan_of, results_of
from test_analysis_frames import with_accuracies

from fanin import seeds
from fanin.analysis.analysis import Analysis
from fanin.analysis.problem_ranks import rank_over_problems
from fanin.analysis.reference import choose_reference
from fanin.analysis.section_comparisons import Difference, SectionComparison, compare_section
from fanin.analysis.section_runs import ABSENT, DIVERGED, OK, UNKNOWN, SectionRuns
from fanin.errors import UnknownName
from fanin.report.results import Results
from fanin.study.study import Study

DIGITS = [("mlp", "digits")]


def make_runs(
    columns: Mapping[str, Sequence[float]],
    states: Mapping[str, Sequence[int]] | None = None,
    *,
    higher: bool = True,
) -> SectionRuns:
    """A section whose runs have these values; a state other than `OK` has none."""
    values = np.array([*columns.values()], dtype=np.float64).T
    found = np.full(values.shape, OK, dtype=np.int8)
    for name, column in (states or {}).items():
        found[:, list(columns).index(name)] = column
    values[found != OK] = math.nan
    origins = np.zeros(values.shape, dtype=np.int64)
    return SectionRuns((), "test_accuracy", higher, tuple(columns), values, found, origins)


def draw(n: int, *name: str | int) -> np.ndarray:
    return seeds.make_numpy_generator(0, "comparison", *name).normal(0, 1, n)


def difference_of(comparison: SectionComparison, value: str) -> Difference:
    return comparison.get_difference(value)


def test_differences_have_the_numbers_of_scipy_and_statsmodels():
    base = draw(11, "base")
    columns = {name: base + draw(11, name) / 2 + at / 4 for at, name in enumerate("abcd")}
    found = compare_section(make_runs(columns), "b").differences
    expected = [columns[name] - columns["b"] for name in "acd"]
    p = [
        stats.permutation_test(
            (d,), np.sum, permutation_type="samples", n_resamples=math.inf
        ).pvalue
        for d in expected
    ]
    assert [item.value for item in found] == ["a", "c", "d"]
    for item, d, one in zip(found, expected, p, strict=True):
        low, high = stats.t.interval(0.95, 10, d.mean(), stats.sem(d))
        assert (item.n, item.mean, item.sd) == (11, d.mean(), d.std(ddof=1))
        assert (item.low, item.high) == pytest.approx((low, high))
        assert item.p == pytest.approx(one)
    corrected = multipletests(p, method="holm")[1]
    np.testing.assert_allclose([item.p_holm for item in found], corrected)


def test_where_lower_is_better_a_smaller_value_is_better():
    noise = draw(12, "low")
    runs = make_runs({"a": noise, "b": noise + 1 + draw(12, "x") / 9}, higher=False)
    [item] = compare_section(runs, "a").differences
    assert item.mean > 0
    assert (item.judgement, item.wins, item.losses) == ("worse", 0, 12)
    assert compare_section(runs, "a").best == "a"


def test_a_diverged_run_has_lost_and_leaves_no_mean():
    a, b = np.full(12, 0.5), np.full(12, 0.9)
    runs = make_runs({"a": a, "b": b}, {"b": [DIVERGED] * 11 + [OK]})
    [item] = compare_section(runs, "a").differences
    assert math.isnan(item.mean)
    assert math.isnan(item.low)
    assert math.isnan(item.detectable)
    assert (item.wins, item.losses, item.ties, item.diverged) == (1, 11, 0, 11)
    assert item.p == pytest.approx(stats.binomtest(1, 12).pvalue)
    assert item.judgement == "worse"
    assert item.share == 1 / 12


def test_two_diverged_runs_have_tied():
    runs = make_runs({"a": np.ones(12), "b": np.ones(12)}, {n: [DIVERGED] * 12 for n in "ab"})
    [item] = compare_section(runs, "a").differences
    assert (item.ties, item.diverged, item.p) == (12, 12, 1.0)
    assert item.judgement == "cannot tell"


def test_a_failed_run_is_no_value_and_counts_against_what_the_others_say():
    d = np.linspace(1, 2, 12)
    whole = compare_section(make_runs({"a": np.zeros(12), "b": d}), "a").differences[0]
    runs = make_runs({"a": np.zeros(12), "b": d}, {"b": [UNKNOWN] + [OK] * 11})
    [item] = compare_section(runs, "a").differences
    assert (item.n, item.failed) == (11, 1)
    assert item.mean == pytest.approx(d[1:].mean())
    adverse = np.append(d[1:], -2.0)
    expected = stats.permutation_test(
        (adverse,), np.sum, permutation_type="samples", n_resamples=math.inf
    ).pvalue
    assert item.p == pytest.approx(expected)
    assert item.p > whole.p == 2 / 2**12
    many = make_runs({"a": np.zeros(12), "b": d}, {"b": [UNKNOWN] * 5 + [OK] * 7})
    assert compare_section(many, "a").differences[0].judgement == "cannot tell"


def test_a_run_that_is_missing_makes_no_pair():
    runs = make_runs({"a": np.zeros(12), "b": np.ones(12)}, {"b": [ABSENT] * 3 + [OK] * 9})
    [item] = compare_section(runs, "a").differences
    assert (item.n, item.failed, item.judgement) == (9, 0, "too few")
    assert math.isnan(item.p)
    assert item.half_width == 0


def test_what_is_the_same_in_every_replicate_is_equal():
    noise = draw(10, "same")
    [item] = compare_section(make_runs({"a": noise, "b": noise}), "a").differences
    assert (item.judgement, item.p, item.needed) == ("equal", 1.0, None)
    nine = compare_section(make_runs({"a": noise[:9], "b": noise[:9]}), "a")
    assert nine.differences[0].judgement == "too few"


def test_a_margin_calls_a_small_difference_equivalent_and_not_a_large_one():
    noise = draw(14, "margin")
    runs = make_runs({"a": noise, "b": noise + draw(14, "y") / 50, "c": noise + 5})
    found = compare_section(runs, "a", margin=0.1)
    assert [item.judgement for item in found.differences] == ["equivalent", "better"]
    plain = compare_section(runs, "a")
    assert [item.judgement for item in plain.differences] == ["cannot tell", "better"]


def test_what_is_not_told_says_how_many_replicates_would_tell_it():
    noise = draw(12, "needed")
    runs = make_runs({"a": noise, "b": noise + 1.2 + draw(12, "z"), "c": noise + 9})
    item = difference_of(compare_section(runs, "a"), "b")
    assert item.judgement == "cannot tell"
    assert item.needed is not None
    assert item.needed > 12
    noncentral = abs(item.mean) * math.sqrt(item.needed) / item.sd
    critical = stats.t.ppf(1 - 0.025 / 2, item.needed - 1)  # two comparisons
    assert stats.nct.sf(critical, item.needed - 1, noncentral) == pytest.approx(0.8, abs=0.01)


def test_the_smallest_difference_that_could_be_seen_is_given_at_every_n():
    for n in (2, 5, 9, 10, 40):
        runs = make_runs({"a": draw(n, "p"), "b": draw(n, "q"), "c": draw(n, "r")})
        comparison = compare_section(runs, "a")
        assert all(item.detectable > 0 for item in comparison.differences)
        low, high = sorted(item.detectable for item in comparison.differences)
        assert low <= comparison.detectable <= high
    assert math.isnan(compare_section(make_runs({"a": [1.0], "b": [2.0]}), "a").detectable)


def test_the_leader_is_compared_with_all_only_if_it_is_told_from_the_reference():
    base, step = draw(12, "gate"), draw(12, "step") / 9
    columns = {"a": base, "b": base + 0.01 + step, "c": base - 5 + draw(12, "far") / 9}
    closed = compare_section(make_runs(columns), "a")
    assert closed.leader == "b" if step.mean() > -0.01 else "a"
    opened = compare_section(make_runs(columns), "c")
    assert opened.leads
    assert {item.value: item.judgement for item in opened.beaten}["c"] == "worse"
    if closed.leader != "a":
        assert not closed.leads
        assert all(item.judgement not in ("better", "worse") for item in closed.beaten)


def test_the_pair_of_leader_and_reference_is_the_same_in_both_lists():
    base = draw(12, "both")
    columns = {"a": base, "b": base + 2 + draw(12, "b") / 5, "c": base + 1 + draw(12, "c") / 5}
    found = compare_section(make_runs(columns), "a")
    assert found.leader == found.best == "b"
    there, back = difference_of(found, "b"), next(i for i in found.beaten if i.value == "a")
    assert (there.judgement, back.judgement) == ("better", "worse")
    assert (there.mean, there.low, there.p_holm) == (-back.mean, -back.high, back.p_holm)


def test_a_value_with_a_diverged_or_missing_run_is_not_the_best():
    columns = {"a": np.zeros(12), "b": np.ones(12)}
    for state in (DIVERGED, ABSENT, UNKNOWN):
        runs = make_runs(columns, {"b": [state] + [OK] * 11})
        assert compare_section(runs, "a").best is None
    assert compare_section(make_runs(columns), "a").best == "b"


def test_the_usual_reference_is_he_then_xavier_then_the_first():
    assert choose_reference(["zero", "xavier_uniform", "he_normal(mode=fan_out)"]) == (
        "he_normal(mode=fan_out)"
    )
    assert choose_reference(["zero", "xavier_uniform"]) == "xavier_uniform"
    assert choose_reference(["layer", "none", "batch"]) == "none"
    assert choose_reference(["0.1", "0.2"]) == "0.1"


def test_a_plan_names_its_reference_and_a_user_another_one():
    plan, results = with_accuracies(
        {
            "zero": [0.1 + i / 99 for i in range(10)],
            "he_normal": [0.9] * 10,
            "lecun_normal": [0.8] * 10,
        }
    )
    found = Results(plan, results)
    assert set(found.differences()["reference"]) == {"he_normal"}
    assert set(found.differences("zero")["reference"]) == {"zero"}
    assert found.compare_with("zero").verdict().to_json()["sections"][0]["reference"] == "zero"
    with pytest.raises(UnknownName, match="Did you mean he_normal"):
        found.differences("he_norml")
    assert found.compare_with(None) is found


def test_the_frame_of_differences_has_a_row_per_section_and_value():
    plan = plan_of(replicates=10)
    results = Results(plan, results_of(plan))
    frame = results.differences()
    assert len(frame) == 9 * 5
    assert set(frame["metric"]) == {"test_accuracy", "test_mae"}
    assert list(frame.columns[:5]) == ["model", "data", "metric", "value", "reference"]
    by_loss = results.differences(metric="test_loss")
    assert set(by_loss["metric"]) == {"test_loss"}
    with pytest.raises(UnknownName, match="test_acuracy"):
        results.differences(metric="test_acuracy")
    assert len(Results(plan, {}).differences()) == 0


def test_ranks_over_sections_compare_those_that_hold_the_same_values():
    plan = plan_of(replicates=3)
    ranks = Analysis(plan, results_of(plan)).problem_ranks
    assert ranks is not None
    assert (ranks.problems, ranks.sections, ranks.others) == (9, 9, 0)
    assert ranks.comparison.is_descriptive
    assert ranks.names[ranks.order[-1]] == "zero"
    assert ranks.tied == ()
    one = plan_of(DIGITS, replicates=3)
    assert Analysis(one, results_of(one)).problem_ranks is None
    assert rank_over_problems([], ()) is None


def test_a_value_that_diverges_ranks_behind_those_that_do_not():
    columns = {"a": [0.9] * 4, "b": [0.5] * 4}
    runs = make_runs(columns, {"a": [OK, DIVERGED, DIVERGED, DIVERGED]})
    three = [replace(runs, section=(name,)) for name in "xyz"]
    ranks = rank_over_problems(three, ("data",))
    assert ranks is not None
    assert ranks.comparison.ranks == (2.0, 1.0)


def make_grid(means: Mapping[tuple[str, float], tuple[float, ...]]) -> list[SectionRuns]:
    """A section for each data set and learning rate, whose values a, b and c have these means."""
    return [
        replace(make_runs(dict(zip("abc", ([mean] * 3 for mean in row), strict=True))), section=key)
        for key, row in means.items()
    ]


def test_learning_rates_of_one_data_set_are_one_problem():
    """By hand: ranks at the rates x (1, 2, 3), (1, 3, 2), (3, 1, 2), so means 5/3, 2, 7/3 and ranks
    1, 2, 3; y (2, 1, 3), (3, 1, 2): 2.5, 1, 2.5, so 2.5, 1, 2.5; z (1, 2, 3) alone.
    """
    sections = make_grid(
        {
            ("x", 0.1): (0.9, 0.8, 0.7),
            ("x", 0.2): (0.9, 0.1, 0.2),
            ("x", 0.3): (0.1, 0.9, 0.2),
            ("y", 0.1): (0.5, 0.6, 0.4),
            ("y", 0.2): (0.1, 0.6, 0.4),
            ("z", 0.1): (0.3, 0.2, 0.1),
        }
    )
    ranks = rank_over_problems(sections, ("data", "learning_rate"))
    assert ranks is not None
    assert (ranks.problems, ranks.sections, ranks.others) == (3, 6, 0)
    assert ranks.settings == ("learning_rate",)
    assert ranks.comparison.problems == 3
    assert ranks.comparison.ranks == pytest.approx((4.5 / 3, 5 / 3, 8.5 / 3))
    words = rank_over_problems(sections, ("data", "optimizer"))  # no setting: six problems
    assert words is not None
    assert (words.problems, words.settings) == (6, ())
    assert words.comparison.ranks == pytest.approx((11 / 6, 10 / 6, 15 / 6))


def test_many_learning_rates_of_two_data_sets_allow_no_test():
    """Twelve sections looked like twelve problems, enough for Friedman's test."""
    rates = {(data, rate / 10): (0.9, 0.8, 0.7) for data in "xy" for rate in range(6)}
    assert rank_over_problems(make_grid(rates), ("data", "learning_rate")) is None
    third = {**rates, **{("z", rate / 10): (0.9, 0.8, 0.7) for rate in range(6)}}
    ranks = rank_over_problems(make_grid(third), ("data", "learning_rate"))
    assert ranks is not None
    assert (ranks.problems, ranks.sections) == (3, 18)
    assert ranks.comparison.is_descriptive
    assert math.isnan(ranks.comparison.p_value)


def test_the_sentence_says_what_a_problem_is():
    axes = {
        "activation": ["relu", "tanh", "elu"],
        "learning_rate": [0.01, 0.1],
        "initializer": ["he_normal", "zero"],
    }
    base = {"model": "mlp", "data": "digits", "optimizer": "sgd"}
    plan = Study("rates", base=base, axes=axes, replicates=2).plan()
    conclusion = Results(plan, results_of(plan)).verdict()
    assert (
        "Average rank over 3 problems (6 sections; each problem by the mean rank over the values "
        "of learning rate): "
    ) in str(conclusion)
    assert "This describes these problems; a test over such needs 10." in str(conclusion)


def test_a_store_of_many_results_is_compared_without_pandas(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of(replicates=12)
    analysis = Analysis(plan, of_outcomes(plan, *["ok"] * 50, "diverged", "failed", None))
    monkeypatch.setattr(
        "fanin.analysis.frames.build_frame", lambda *_: pytest.fail("a frame was built")
    )
    assert len(analysis.comparisons) == 9


@pytest.mark.slow
def test_claims_are_false_in_at_most_five_percent_of_studies_if_nothing_differs():
    # 2,000 studies of 6 values, n = 10: 0.05 + 0.0195 at four standard errors, over both lists. If
    # half of the values differ from the other half, each list alone holds its level.
    def count(shifts: np.ndarray) -> tuple[float, float, float]:
        wrong = np.zeros(3)
        generator = seeds.make_numpy_generator(0, "claims", *map(int, 10 * shifts))
        for _ in range(2_000):
            values = generator.normal(0, 1, (10, 6)) + shifts
            found = compare_section(make_runs(dict(zip("abcdef", values.T, strict=True))), "a")
            lists = [_has_false_claim(items, shifts) for items in (found.differences, found.beaten)]
            wrong += [*lists, any(lists)]
        first, second, either = wrong / 2_000
        return float(first), float(second), float(either)

    assert max(count(np.zeros(6))) <= 0.0695
    assert max(count(np.array([0, 0, 0, 3.0, 3.0, 3.0]))[:2]) <= 0.0695


def _has_false_claim(items: Sequence[Difference], shifts: np.ndarray) -> bool:
    at = "abcdef".index
    true = [shifts[at(item.value)] - shifts[at(item.reference)] for item in items]
    return any(
        (item.judgement == "better" and gap <= 0) or (item.judgement == "worse" and gap >= 0)
        for item, gap in zip(items, true, strict=True)
    )
