"""Intervals of medians, spreads and proportions: by hand, by scipy, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from combinations import for_each
from scipy import stats

from fanin import seeds
from fanin.analysis import statistics
from fanin.errors import UsageError


def test_the_median_of_nine_runs_lies_between_the_second_and_the_eighth():
    # P(Bin(9, 1/2) < 2) = 10/512, so x_(2) to x_(8) covers 1 - 20/512 = 0.961; x_(3) only 0.82.
    found = statistics.estimate_median([9, 1, 8, 2, 7, 3, 6, 4, 5])
    assert (found.median, found.low, found.high) == (5, 2, 8)
    assert found.coverage == pytest.approx(1 - 20 / 512)


def test_five_runs_have_no_interval_of_the_median_and_six_have_the_whole_range():
    five = statistics.estimate_median([1, 2, 3, 4, 5])
    assert math.isnan(five.low)
    assert math.isnan(five.coverage)
    six = statistics.estimate_median([1, 2, 3, 4, 5, 6])
    assert (six.low, six.high, six.coverage) == (1, 6, pytest.approx(1 - 2 / 64))


def test_diverged_runs_are_the_worst_end_of_the_medians_interval():
    found = statistics.estimate_median([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 3, higher_is_better=True)
    assert (found.median, found.low, found.high) == (0.5, -math.inf, 0.8)
    found = statistics.estimate_median([1, 2, 3, 4, 5, 6], 3, higher_is_better=False)
    assert (found.median, found.low, found.high) == (5, 2, math.inf)
    assert math.isnan(statistics.estimate_median([1.0, math.nan] * 5).median)


def test_the_interval_of_the_median_is_that_of_scipys_quantile_test():
    for n in (6, 11, 24):
        x = seeds.make_numpy_generator(n, "median").normal(0, 1, n)
        theirs = stats.quantile_test(x, q=0, p=0.5).confidence_interval(0.95)
        found = statistics.estimate_median(x)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_the_medians_interval_covers_a_skewed_median_as_often_as_it_says():
    # 10,000 samples of n = 15 from a lognormal, median 1: 0.9648 ± 0.0074 at four standard errors.
    # The planted x_(5) to x_(11) covers 0.88.
    samples = np.sort(seeds.make_numpy_generator(1, "lognormal").lognormal(0, 1, (10_000, 15)))
    ends = statistics.estimate_median(samples[0])
    low, high = (int(np.flatnonzero(samples[0] == end)[0]) for end in (ends.low, ends.high))
    assert (low, high) == (3, 11)
    covered = float(((samples[:, low] <= 1) & (samples[:, high] >= 1)).mean())
    planted = float(((samples[:, 4] <= 1) & (samples[:, 10] >= 1)).mean())
    assert abs(covered - ends.coverage) < 0.0074 < ends.coverage - planted


def test_the_spread_of_a_hand_worked_case():
    # s² = 2.5, n = 5; χ² quantiles of 4 degrees of freedom from a printed table.
    found = statistics.estimate_spread([1, 2, 3, 4, 5])
    assert found.sd == pytest.approx(math.sqrt(2.5))
    assert found.low == pytest.approx(math.sqrt(2.5 * 4 / 11.1433), rel=1e-5)
    assert found.high == pytest.approx(math.sqrt(2.5 * 4 / 0.484419), rel=1e-5)
    assert math.isnan(statistics.estimate_spread([1, 2, 3, 4]).low)


def test_the_interval_of_the_spread_covers_as_often_as_it_says():
    # 10,000 normal samples of n = 8: 0.95 ± 0.0087 at four standard errors. The planted interval,
    # with n for n - 1, covers less at n = 8 by 0.01.
    samples = seeds.make_numpy_generator(2, "spread").normal(0, 3, (10_000, 8))
    one = statistics.estimate_spread(samples[0])
    sds = samples.std(axis=1, ddof=1)
    low, high = one.low / one.sd * sds, one.high / one.sd * sds
    assert abs(float(((low <= 3) & (high >= 3)).mean()) - 0.95) < 0.0087
    planted = float(((sds * 8 / 7 * one.low / one.sd <= 3) & (sds * 8 / 7 <= 3)).mean())
    assert planted < 0.9


@for_each("case", [(0, 10), (1, 10), (5, 12), (12, 12), (370, 400)])
def test_proportions_equal_scipys(case: tuple[int, int]):
    count, n = case
    theirs = stats.binomtest(count, n)
    for method, find in (
        ("wilson", statistics.estimate_proportion),
        ("exact", statistics.bound_proportion),
    ):
        interval, found = theirs.proportion_ci(0.95, method), find(count, n)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
        assert found.share == count / n


def test_no_run_and_impossible_counts_have_no_rate():
    assert math.isnan(statistics.estimate_proportion(0, 0).low)
    assert math.isnan(statistics.bound_proportion(0, 0).share)
    with pytest.raises(UsageError, match="between 0 and n = 3"):
        statistics.estimate_proportion(4, 3)
    with pytest.raises(UsageError, match="between 0 and 1"):
        statistics.bound_proportion(1, 3, level=95)


def test_wilsons_interval_covers_on_average_and_the_exact_one_always():
    # Exact, no simulation: the coverage at 99 rates with n = 20 runs. A Wald interval, planted,
    # covers 0.85 on average.
    n, rates = 20, np.linspace(0.01, 0.99, 99)
    weights = stats.binom.pmf(np.arange(n + 1)[:, None], n, rates[None, :])

    def cover(ends: list[tuple[float, float]]) -> np.ndarray:
        inside = np.array([(low <= rates) & (rates <= high) for low, high in ends])
        return np.asarray((weights * inside).sum(axis=0))

    wilson = cover(
        [(p.low, p.high) for k in range(n + 1) for p in [statistics.estimate_proportion(k, n)]]
    )
    exact = cover(
        [(p.low, p.high) for k in range(n + 1) for p in [statistics.bound_proportion(k, n)]]
    )
    wald = cover(
        [
            (k / n - h, k / n + h)
            for k in range(n + 1)
            for h in [1.96 * math.sqrt(k * (n - k) / n**3)]
        ]
    )
    assert abs(float(wilson.mean()) - 0.95) < 0.01
    assert float(exact.min()) >= 0.95
    assert float(wald.mean()) < 0.9


def test_wins_losses_and_ties_of_a_hand_worked_case():
    # P(Bin(10, 1/2) <= 1) = 11/1024, two-sided 22/1024.
    found = statistics.count_wins(9, 1, 2)
    assert (found.n, found.share, found.p_value) == (12, 10 / 12, pytest.approx(22 / 1024))
    assert statistics.count_wins(0, 0, 5).p_value == 1.0
    assert math.isnan(statistics.count_wins(0, 0).p_value)
    assert statistics.count_wins(7, 13).p_value == pytest.approx(stats.binomtest(7, 20).pvalue)
    with pytest.raises(UsageError, match="not negative"):
        statistics.count_wins(-1, 2)
