"""Censored times: Kaplan and Meier, restricted means, paired comparisons that honour censoring."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fanin import seeds
from fanin.analysis import statistics
from fanin.errors import UsageError


def test_the_first_epoch_that_reaches_a_target_counts_and_else_the_last_is_censored():
    values = [0.5, math.nan, 0.8, 0.7, 0.9]
    assert statistics.find_time(values, 0.8, higher_is_better=True) == (3, True)
    assert statistics.find_time(values, 0.95, higher_is_better=True) == (5, False)
    assert statistics.find_time([3, 2, 1], 2.5, higher_is_better=False) == (2, True)


def test_survival_of_a_hand_worked_case():
    # Reached at 2, 5, 5, 8; censored at 5 and 9. S: 5/6, then ·(1 − 2/5) = 1/2, then ·(1 − 1/2).
    found = statistics.estimate_survival([2, 5, 5, 5, 8, 9], [1, 1, 1, 0, 1, 0])
    assert found.times.tolist() == [2, 5, 8]
    assert found.shares.tolist() == pytest.approx([5 / 6, 1 / 2, 1 / 4])
    assert (found.median, found.horizon) == (5, 9)
    # Area: 2·1 + 3·5/6 + 3·1/2 + 1·1/4.
    assert found.compute_restricted_mean() == pytest.approx(6.25)
    assert found.compute_restricted_mean(4) == pytest.approx(2 + 2 * 5 / 6)
    with pytest.raises(UsageError, match="9; received 10"):
        found.compute_restricted_mean(10)


def test_survival_equals_scipys_empirical_distribution_of_censored_data():
    generator = seeds.make_numpy_generator(0, "survival")
    times, reached = generator.integers(1, 20, 60).astype(float), generator.random(60) < 0.7
    theirs = stats.ecdf(stats.CensoredData(uncensored=times[reached], right=times[~reached])).sf
    found = statistics.estimate_survival(times, reached)
    for t in range(20):
        ours = float(found.shares[found.times <= t][-1]) if (found.times <= t).any() else 1.0
        assert ours == pytest.approx(float(theirs.evaluate([t])[0]), abs=1e-12)


def test_a_target_that_fewer_than_half_reach_has_no_median():
    found = statistics.estimate_survival([3, 10, 10], [True, False, False])
    assert found.median == math.inf
    assert statistics.estimate_survival([10, 10], [False, False]).median == math.inf


def test_a_censored_time_taken_for_a_time_is_wrong_and_the_restricted_mean_is_not():
    # 4,000 exponential times of mean 10, each censored at a uniform time in (0, 20): the restricted
    # mean up to 10 is 10·(1 − e⁻¹) = 6.32 ± 0.25; the mean of what was watched, planted, is 4.3.
    generator = seeds.make_numpy_generator(1, "censored")
    true, end = generator.exponential(10, 4_000), generator.uniform(0, 20, 4_000)
    watched, reached = np.minimum(true, end), true <= end
    found = statistics.estimate_survival(watched, reached)
    assert found.compute_restricted_mean(10) == pytest.approx(10 * (1 - math.exp(-1)), abs=0.25)
    assert np.minimum(watched, 10).mean() < 5


def test_the_order_of_a_pair_is_known_only_if_the_sooner_one_reached_the_target():
    #        win: sooner; loss; tie; win: other censored later, at the same time; unknown ×2
    a = [2, 9, 4, 3, 3, 7, 8]
    reached_a = [1, 1, 1, 1, 1, 0, 0]
    b = [5, 6, 4, 8, 3, 9, 8]
    reached_b = [1, 1, 1, 0, 0, 1, 0]
    found = statistics.compare_times(a, reached_a, b, reached_b)
    assert (found.order.wins, found.order.losses, found.order.ties) == (3, 1, 1)
    assert found.unknown == 2
    assert found.until == 3  # b's fifth run was watched no longer
    assert found.restricted.estimate.mean == pytest.approx(-1 / 7)  # 2 against 3, once


def test_without_censoring_the_restricted_difference_is_the_whole_one():
    found = statistics.compare_times([2, 4], [1, 1], [5, 9], [1, 1])
    assert found.restricted.estimate.mean == -4
    assert found.unknown == 0


def test_the_paired_test_holds_its_level_under_censoring():
    # 1,000 studies of 14 pairs with a common share in each pair, one of both watched for less long:
    # 0.05 + 0.0276 at four standard errors. Taking censored times for times, planted, rejects more.
    generator = seeds.make_numpy_generator(2, "level")
    rejected = planted = 0
    for _ in range(1_000):
        both = generator.exponential(5, (2, 14)) + generator.exponential(5, 14)
        end = np.stack([np.full(14, 30.0), np.full(14, 6.0)])
        times, reached = np.minimum(both, end), both <= end
        found = statistics.compare_times(times[0], reached[0], times[1], reached[1])
        rejected += found.restricted.p_value <= 0.05
        planted += stats.ttest_rel(times[0], times[1]).pvalue <= 0.05
    assert rejected / 1_000 <= 0.0776
    assert planted / 1_000 > 0.5


def test_times_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="positive"):
        statistics.estimate_survival([0.0], [True])
    with pytest.raises(UsageError, match="for each whether"):
        statistics.estimate_survival([1.0, 2.0], [True])
    with pytest.raises(UsageError, match="2 and 1"):
        statistics.compare_times([1, 2], [1, 1], [1], [1])
