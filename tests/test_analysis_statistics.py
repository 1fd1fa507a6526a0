"""Statistics of replicates against hand-worked cases, scipy.stats and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fanin import seeds
from fanin.analysis import statistics
from fanin.errors import UsageError

FIVE = [2.0, 4.0, 4.0, 5.0, 5.0]


def test_mean_and_deviation_of_a_hand_worked_case():
    found = statistics.estimate(FIVE)
    assert (found.n, found.mean) == (5, 4.0)
    assert found.sd == pytest.approx(math.sqrt(6 / 4))
    assert found.half_width == pytest.approx(
        2.776445105 * math.sqrt(1.5) / math.sqrt(5), rel=1e-9
    )  # t from a printed table


@pytest.mark.parametrize(("n", "level"), [(5, 0.95), (12, 0.99), (40, 0.5)])
def test_the_interval_equals_that_of_scipy(n: int, level: float):
    x = seeds.make_numpy_generator(0, "test", n).normal(3, 2, n)
    low, high = stats.t.interval(level, n - 1, loc=x.mean(), scale=stats.sem(x))
    found = statistics.estimate(x, level)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (low, high), rel=1e-9
    )


@pytest.mark.parametrize("n", range(5))
def test_fewer_than_five_replicates_give_no_interval(n: int):
    found = statistics.estimate(FIVE[:n])
    assert math.isnan(found.half_width)
    assert math.isnan(found.sd) == (n < 2)
    assert math.isnan(found.mean) == (n == 0)


def test_a_nan_is_never_dropped_in_silence():
    assert math.isnan(statistics.estimate([*FIVE, math.nan]).mean)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    # 20,000 samples of n = 5 from a normal: coverage 0.95 ± 0.0062 at four standard errors; one
    # that took z = 1.96 for t would cover 0.878.
    samples = seeds.make_numpy_generator(1, "test").normal(7, 3, (20_000, 5))
    half = stats.t.ppf(0.975, 4) / math.sqrt(5) * samples.std(axis=1, ddof=1)
    ours = np.array([statistics.estimate(sample).half_width for sample in samples[:500]])
    np.testing.assert_allclose(ours, half[:500])
    covered = float((np.abs(samples.mean(axis=1) - 7) < half).mean())
    planted = float((np.abs(samples.mean(axis=1) - 7) < half * 1.96 / stats.t.ppf(0.975, 4)).mean())
    assert abs(covered - 0.95) < 0.0062 < abs(planted - 0.95)


def test_divergence_is_a_rate_of_finished_runs():
    assert statistics.compute_divergence_rate(2, 3) == 0.4
    assert math.isnan(statistics.compute_divergence_rate(0, 0))


@pytest.mark.parametrize(
    ("values", "diverged", "higher", "median"),
    [
        ([0.9, 0.8, 0.7], 0, True, 0.8),
        ([0.9, 0.8, 0.7], 2, True, 0.7),
        ([1.0, 2.0, 3.0], 2, False, 3.0),
        ([1.0, 2.0], 2, False, math.nan),  # between a value and a diverged run
        ([], 3, True, math.nan),
        ([], 0, True, math.nan),
    ],
)
def test_the_median_counts_diverged_runs_as_worst(
    values: list[float], diverged: int, higher: bool, median: float
):
    found = statistics.compute_median(values, diverged, higher_is_better=higher)
    assert found == pytest.approx(median, nan_ok=True)


def test_ranks_share_ties_and_put_diverged_runs_last():
    found = statistics.rank([0.5, 0.9, math.nan, 0.9, math.nan], higher_is_better=True)
    assert found.tolist() == [3.0, 1.5, 4.5, 1.5, 4.5]
    assert statistics.rank([0.5, 0.9, math.nan], higher_is_better=False).tolist() == [
        1.0,
        2.0,
        3.0,
    ]


def test_ranks_equal_those_of_scipy():
    x = seeds.make_numpy_generator(2, "test").integers(0, 5, 50).astype(float)
    np.testing.assert_array_equal(statistics.rank(x, higher_is_better=False), stats.rankdata(x))


def test_the_paired_test_equals_that_of_scipy():
    rng = seeds.make_numpy_generator(3, "test")
    a = rng.normal(0, 1, 12)
    b = a + rng.normal(0.3, 0.5, 12)
    found, theirs = statistics.compare_pairs(a, b), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.estimate.mean - found.estimate.half_width == pytest.approx(interval.low)
    assert found.detectable == statistics.find_detectable_difference(found.estimate.sd, 12)


def test_nine_pairs_are_too_few_to_test_and_say_what_they_could_have_seen():
    rng = seeds.make_numpy_generator(4, "test")
    found = statistics.compare_pairs(rng.normal(0, 1, 9), rng.normal(0, 1, 9))
    assert math.isnan(found.p_value)
    assert found.detectable > 0
    assert math.isfinite(found.estimate.half_width)


def test_identical_pairs_differ_by_nothing():
    assert statistics.compare_pairs([1.0] * 10, [1.0] * 10).p_value == 1.0
    assert statistics.compare_pairs([2.0] * 10, [1.0] * 10).p_value == 0.0


def test_pairs_must_match():
    with pytest.raises(UsageError, match="3 and 2"):
        statistics.compare_pairs([1, 2, 3], [1, 2])
    with pytest.raises(UsageError, match="one per replicate"):
        statistics.estimate([[1.0, 2.0]])


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_the_detectable_difference_has_the_power_it_claims(n: int):
    delta = statistics.find_detectable_difference(1.7, n)
    noncentrality = delta * math.sqrt(n) / 1.7
    critical = stats.t.ppf(0.975, n - 1)
    assert stats.nct.sf(critical, n - 1, noncentrality) == pytest.approx(0.8, abs=1e-5)


def test_the_detectable_difference_is_seen_in_80_percent_of_simulated_studies():
    # 20,000 studies of n = 5 pairs: 0.8 ± 0.0113 at four standard errors. The formula with normal
    # quantiles has less power.
    n, sd = 5, 2.0
    delta = statistics.find_detectable_difference(sd, n)
    planted = (1.96 + 0.8416) * sd / math.sqrt(n)
    noise = seeds.make_numpy_generator(5, "test").normal(0, sd, (20_000, n))
    seen = [
        float((stats.ttest_1samp(noise + shift, 0, axis=1).pvalue < 0.05).mean())
        for shift in (delta, planted)
    ]
    assert abs(seen[0] - 0.8) < 0.0113
    assert seen[1] < 0.75


def test_one_pair_can_detect_nothing():
    with pytest.raises(UsageError, match="at least 2"):
        statistics.find_detectable_difference(1.0, 1)


def test_pooled_deviation_is_the_root_of_the_mean_square():
    assert statistics.pool_deviations([3.0, 4.0]) == pytest.approx(math.sqrt(12.5))
    assert math.isnan(statistics.pool_deviations([]))
