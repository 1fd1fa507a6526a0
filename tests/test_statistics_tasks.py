"""Statistics over problems and tasks: ranks, aggregates, profiles, sensitivity, components."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fanin import seeds
from fanin.analysis import statistics
from fanin.errors import UsageError


def draw(*name: str | int, shape: tuple[int, ...], shift: float = 0.0) -> np.ndarray:
    return seeds.make_numpy_generator(0, "tasks", *name).normal(shift, 1, shape)


def test_ranks_over_ten_problems_of_a_hand_worked_case():
    # The first is best in all; the others tie in five, and win three and two: ranks 1, 2.45, 2.55.
    scores = [[3, 1, 1]] * 5 + [[3, 2, 1]] * 3 + [[3, 1, 2]] * 2
    found = statistics.compare_ranks(scores, higher_is_better=True)
    assert found.ranks == pytest.approx((1.0, 2.45, 2.55))
    # Rank sums 10, 24.5, 25.5: 12/(10·3·4)·(100 + 600.25 + 650.25) − 120 = 15.05; ties of two in
    # five problems: 1 − 5·6/(10·3·8) = 0.875, so χ² = 17.2 with two degrees: p = e^(−8.6).
    assert found.p_value == pytest.approx(math.exp(-17.2 / 2), rel=1e-9)
    # q/√2 for three values is 2.343 in published tables.
    assert found.critical_difference == pytest.approx(2.343 * math.sqrt(12 / 60), rel=3e-4)
    assert found.groups == ((1, 2),)
    assert not found.is_descriptive


def test_the_friedman_test_equals_that_of_scipy():
    scores = draw("scipy", shape=(14, 4)).round(1)  # with ties
    theirs = stats.friedmanchisquare(*scores.T)
    found = statistics.compare_ranks(scores, higher_is_better=False)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 84), rel=3e-4)


def test_a_critical_difference_diagram_joins_what_cannot_be_told_apart():
    found = statistics.RankComparison((1.0, 2.0, 3.0, 5.0), 20, 0.001, 1.2)
    assert found.groups == ((0, 1), (1, 2))


def test_nine_problems_are_described_and_not_tested():
    found = statistics.compare_ranks(draw("nine", shape=(9, 3)), higher_is_better=True)
    assert found.is_descriptive
    assert math.isnan(found.p_value)
    assert found.groups == ()


def test_values_that_tie_everywhere_do_not_differ_and_diverged_ones_rank_last():
    assert statistics.compare_ranks(np.ones((12, 3)), higher_is_better=True).p_value == 1.0
    scores = np.array([[0.5, math.nan, 0.7]] * 10)
    found = statistics.compare_ranks(scores, higher_is_better=True)
    assert found.ranks == (2.0, 3.0, 1.0)
    assert found.p_value < 0.001


def test_the_friedman_test_holds_its_level_and_nemenyi_that_of_all_pairs():
    # 2,000 studies of 5 equal values on 20 problems: 0.05 + 0.0195 at four standard errors. The
    # plain ANOVA of ranks at two-sided z per pair, planted, claims in 0.25.
    rejected = claimed = planted = 0
    for scores in draw("friedman", shape=(2_000, 20, 5)):
        found = statistics.compare_ranks(scores, higher_is_better=True)
        spread = max(found.ranks) - min(found.ranks)
        rejected += found.p_value <= 0.05
        claimed += spread > found.critical_difference
        planted += spread > 1.96 * math.sqrt(5 * 6 / (6 * 20))
    assert rejected / 2000 <= 0.0695
    assert claimed / 2000 <= 0.0695 < planted / 2000


def test_the_interquartile_mean_is_scipys_trimmed_mean():
    for n in (3, 8, 10, 41):
        x = draw("iqm", n, shape=(n,))
        assert statistics.compute_interquartile_mean(x) == pytest.approx(
            stats.trim_mean(x, 0.25), rel=1e-12
        )
    assert statistics.compute_interquartile_mean([[1, 2, 3, 4], [5, 6, 7, 800]]) == 4.5
    with pytest.raises(UsageError, match="none that is nan"):
        statistics.compute_interquartile_mean([1, math.nan])


def test_the_stratified_bootstrap_covers_about_as_often_as_it_says():
    # 300 studies of 6 tasks × 12 runs whose tasks differ by 5: 0.95 ± 0.06 (percentile intervals
    # fall a little short). Drawing over all tasks at once, planted, gives ends several times wider.
    levels = np.arange(6)[:, None] * 5.0
    true = float(np.mean([5.0, 10.0, 15.0, 10.0]))  # the middle half: tasks 1 to 4, symmetric
    covered, widths = 0, []
    for noise in draw("bootstrap", shape=(300, 6, 12)):
        found = statistics.estimate_aggregate(levels + noise, np.mean, resamples=300)
        covered += found.low <= 12.5 <= found.high
        widths.append(found.high - found.low)
    assert true == 10.0
    assert abs(covered / 300 - 0.95) < 0.06
    assert np.mean(widths) == pytest.approx(2 * 1.96 / math.sqrt(72), rel=0.1)
    assert 2 * 1.96 * np.std(levels + noise) / math.sqrt(72) > 4 * np.mean(widths)


def test_an_aggregate_is_reproducible_and_the_quick_way_is_the_slow_one():
    scores = draw("quick", shape=(4, 6))
    quick = statistics.estimate_aggregate(scores, resamples=500)
    slow = statistics.estimate_aggregate(
        scores, lambda x: statistics.compute_interquartile_mean(x), resamples=500
    )
    assert quick == slow
    assert quick.low <= quick.value <= quick.high


def test_an_aggregate_refuses_one_task_and_diverged_runs():
    with pytest.raises(UsageError, match="two tasks"):
        statistics.estimate_aggregate([[1.0, 2.0, 3.0]])
    with pytest.raises(UsageError, match="worst that its task knows"):
        statistics.estimate_aggregate([[1.0, math.nan], [1.0, 2.0]])


def test_the_probability_of_improvement_is_mann_and_whitneys_statistic_over_tasks():
    a, b = draw("a", shape=(3, 8), shift=0.5), draw("b", shape=(3, 7))
    found = statistics.estimate_improvement(a, b, higher_is_better=True, resamples=400)
    theirs = np.mean([stats.mannwhitneyu(x, y).statistic / 56 for x, y in zip(a, b, strict=True)])
    assert found.value == pytest.approx(theirs)
    assert found.low < found.value < found.high
    opposite = statistics.estimate_improvement(a, b, higher_is_better=False, resamples=400)
    assert opposite.value == pytest.approx(1 - found.value)


def test_the_interval_of_the_probability_of_improvement_covers_about_as_often_as_it_says():
    # 200 studies of 5 tasks × 10 runs, a better by 0.5 sd: P = Φ(0.5/√2) = 0.638; 0.95 ± 0.07. An
    # interval as if all 500 pairs of runs were independent, planted, covers in < 0.8.
    true, covered, planted = float(stats.norm.cdf(0.5 / math.sqrt(2))), 0, 0
    for scores in draw("improvement", shape=(200, 2, 5, 10)):
        found = statistics.estimate_improvement(
            scores[0] + 0.5, scores[1], higher_is_better=True, resamples=300
        )
        covered += found.low <= true <= found.high
        planted += abs(found.value - true) < 1.96 * math.sqrt(0.25 / 500)
    assert abs(covered / 200 - 0.95) < 0.07
    assert planted / 200 < 0.8


def test_a_diverged_run_loses_and_two_of_them_tie():
    bad = [[math.nan, math.nan], [1.0, 1.0]]
    found = statistics.estimate_improvement(
        bad, [[0.0, math.nan], [0.0, 2.0]], higher_is_better=True, resamples=50
    )
    assert found.value == pytest.approx(((0 + 0.5) / 2 + 0.5) / 2)


def test_a_score_profile_counts_runs_and_diverged_ones_reach_nothing():
    scores = [[0.9, 0.8, math.nan], [0.5, 0.7, 0.95]]
    found = statistics.profile_scores(scores, [0.5, 0.75, 0.95, 1], higher_is_better=True)
    assert found.shares.tolist() == pytest.approx([5 / 6, 3 / 6, 1 / 6, 0])
    below = statistics.profile_scores(scores, [0.5, 0.75], higher_is_better=False)
    assert below.shares.tolist() == pytest.approx([1 / 6, 2 / 6])


def test_a_ratio_profile_of_a_hand_worked_case():
    # Problem 1: 10, 20; problem 2: 30, 15; problem 3: only the second; problem 4: nobody.
    costs = [[10, 20], [30, 15], [math.inf, 7], [math.nan, math.inf]]
    found = statistics.profile_ratios(costs, [1, 2, 100])
    assert found.shares.tolist() == [[0.25, 0.5], [0.5, 0.75], [0.5, 0.75]]
    with pytest.raises(UsageError, match="positive"):
        statistics.profile_ratios([[0.0, 1.0]], [1])


def test_the_good_region_of_a_hand_worked_curve():
    # Means .80 .90 .88 .60 at 1e-4 … 1e-1, tolerance .05: it ends half-way between .80 and .90 and
    # 3/28 of the way from .88 to .60.
    values = [[0.8, 0.8], [0.89, 0.91], [0.88, 0.88], [0.6, 0.6]]
    found = statistics.describe_sensitivity(
        [1e-4, 1e-3, 1e-2, 1e-1], values, 0.05, higher_is_better=True
    )
    assert (found.best_rate, found.best) == (1e-3, pytest.approx(0.9))
    assert math.log10(found.low) == pytest.approx(-3.5)
    assert math.log10(found.high) == pytest.approx(-2 + 3 / 28)
    assert found.decades == pytest.approx(1.5 + 3 / 28)
    assert not found.is_open_below
    assert not found.is_open_above


def test_a_region_is_open_at_the_grids_edge_and_ends_where_half_of_the_runs_diverge():
    values = [[1.0, 1.1], [1.0, 1.0], [1.2, math.nan], [math.nan, math.nan]]
    found = statistics.describe_sensitivity(
        [1e-3, 1e-2, 1e-1, 1], values, 0.2, higher_is_better=False
    )
    assert found.is_open_below
    assert not found.is_open_above
    assert (found.low, found.high) == (pytest.approx(1e-3), pytest.approx(1e-2))
    assert found.diverged == (0, 0, 0.5, 1)
    assert math.isnan(found.centres[2])  # the median lies between a value and a diverged run


def test_the_sensitivity_says_what_it_needs():
    with pytest.raises(UsageError, match="positive and different"):
        statistics.describe_sensitivity([1, 1], [[1.0], [2.0]], 1, higher_is_better=True)
    with pytest.raises(UsageError, match="tolerance"):
        statistics.describe_sensitivity([1, 2], [[1.0], [2.0]], 0, higher_is_better=True)
    with pytest.raises(UsageError, match="half of the runs diverged"):
        statistics.describe_sensitivity([1, 2], [[math.nan]] * 2, 1, higher_is_better=True)


def test_variance_components_of_a_hand_worked_two_way_table():
    # Rows differ by 4, columns by 2, no interaction: MS_rows = 2·(2² + 2²) = 16, MS_columns = 4,
    # MS_rest = 0, so σ² are 16/2 = 8 and 4/2 = 2.
    found = statistics.estimate_components([[1, 3], [5, 7]], ["init", "order"])
    assert found.mean == 4
    assert found.get("init").variance == pytest.approx(8)
    assert found.get("order").variance == pytest.approx(2)
    assert found.get("order", "init").variance == pytest.approx(0)
    assert (found.total, found.get("init").share) == (pytest.approx(10), pytest.approx(0.8))
    assert found.get("init").sd == pytest.approx(math.sqrt(8))


def test_variance_components_are_those_of_an_analysis_of_variance_by_another_way():
    # Mean squares from regressions on indicators, one after the other, which is exact if crossed.
    y = draw("anova", shape=(4, 3, 5))
    found = statistics.estimate_components(y, ["a", "b", "c"])
    squares = {name: _mean_square(y, axes) for name, axes in _SETS.items()}
    ab = (squares["ab"] - squares["abc"]) / 5
    a = (squares["a"] - squares["ab"] - squares["ac"] + squares["abc"]) / 15
    assert found.get("a", "b").variance == pytest.approx(ab)
    assert found.get("a").variance == pytest.approx(a)
    assert found.get("a", "b", "c").variance == pytest.approx(squares["abc"])


_SETS = {"a": (0,), "ab": (0, 1), "ac": (0, 2), "abc": (0, 1, 2)}


def _mean_square(y: np.ndarray, axes: tuple[int, ...]) -> float:
    """What the interaction of these factors explains beyond all of its parts, per degree."""
    place = np.indices(y.shape).reshape(y.ndim, -1)

    def explain(sets: list[tuple[int, ...]]) -> tuple[float, int]:
        columns = [np.ones((y.size, 1))]
        for chosen in sets:
            key = np.ravel_multi_index([place[i] for i in chosen], [y.shape[i] for i in chosen])
            columns.append(np.eye(int(key.max()) + 1)[key])
        design = np.hstack(columns)
        fitted = design @ np.linalg.lstsq(design, y.ravel(), rcond=None)[0]
        return float(((y.ravel() - fitted) ** 2).sum()), int(np.linalg.matrix_rank(design))

    below = [tuple(j for j in axes if j != i) for i in axes if len(axes) > 1]
    left, rank = explain([*below, axes])
    more, lower = explain(below)
    return (more - left) / (rank - lower)


def test_intervals_of_variance_components_cover_about_as_often_as_they_say():
    # 120 studies, 5 × 5 × 5 seeds, σ² = 1, 0.25 and 0 beside noise 0.5: generalized intervals are
    # approximate: 0.95 ± 0.08 at four standard errors. Ends as if all 125 runs were independent,
    # planted, cover in < 0.5.
    covered, planted = np.zeros(2), 0
    generator = seeds.make_numpy_generator(0, "components")
    for _ in range(120):
        a, b = generator.normal(0, 1, (5, 1, 1)), generator.normal(0, 0.5, (1, 5, 1))
        y = a + b + generator.normal(0, math.sqrt(0.5), (5, 5, 5))
        found = statistics.estimate_components(y, ["a", "b", "c"])
        for at, (name, true) in enumerate((("a", 1.0), ("b", 0.25))):
            covered[at] += found.get(name).low <= true <= found.get(name).high
        estimate = found.get("a").variance
        planted += estimate * 124 / 157.0 <= 1.0 <= estimate * 124 / 95.1  # χ² of 124 degrees
    assert np.abs(covered / 120 - 0.95).max() < 0.08
    assert planted / 120 < 0.5


def test_a_crossed_design_must_be_whole():
    with pytest.raises(UsageError, match="1 of 4 values"):
        statistics.estimate_components([[1.0, math.nan], [1.0, 2.0]], ["a", "b"])
    with pytest.raises(UsageError, match="an axis for each"):
        statistics.estimate_components([[1.0, 2.0]], ["a", "b"])
    with pytest.raises(UsageError, match="no component of c"):
        statistics.estimate_components([[1.0, 3.0], [1.0, 2.0]], ["a", "b"]).get("c")
    flat = statistics.estimate_components(np.ones((3, 3)), ["a", "b"])
    assert flat.total == 0
    assert math.isnan(flat.get("a").share)
