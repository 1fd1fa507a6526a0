"""Paired comparisons: sign flips, Holm, joint correction, equivalence, power."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from combinations import for_each
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from fanin import seeds
from fanin.analysis import statistics
from fanin.analysis.statistics import power
from fanin.errors import UsageError


def draw(*name: str | int, shape: tuple[int, ...], shift: float = 0.0) -> np.ndarray:
    return seeds.make_numpy_generator(0, "pairs", *name).normal(shift, 1, shape)


def test_ten_differences_of_one_sign_have_the_smallest_p_that_there_is():
    # 2 of the 1,024 patterns, the observed one and its opposite, are as extreme.
    assert statistics.compute_flip_p_value(range(1, 11)) == 2 / 1024


def test_one_small_difference_against_nine_is_counted_by_hand():
    # Only flipping the smallest back gives a larger sum: 4 patterns with |sum| >= 52.
    assert statistics.compute_flip_p_value([-1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) == 4 / 1024


def test_nine_differences_are_too_few_to_flip_and_zeros_tell_nothing():
    assert math.isnan(statistics.compute_flip_p_value(range(1, 10)))
    assert statistics.compute_flip_p_value([0.0] * 10) == 1.0
    assert math.isnan(statistics.compute_flip_p_value([1.0] * 10 + [math.nan]))


@for_each("n", [10, 11, 13])
def test_the_exact_p_is_that_of_scipys_permutation_test(n: int):
    d = draw("scipy", n, shape=(n,), shift=0.4)
    theirs = stats.permutation_test(
        (d,), np.sum, permutation_type="samples", n_resamples=math.inf
    ).pvalue
    assert statistics.compute_flip_p_value(d) == pytest.approx(theirs, abs=1e-12)


def test_ties_of_sums_do_not_depend_on_rounding():
    # Sums of tenths, which floats round: the same as of whole numbers.
    whole = np.array([3, 1, 2, -1, 4, 2, -2, 1, 1, 3, 2, -1])
    assert statistics.compute_flip_p_value(whole / 10) == statistics.compute_flip_p_value(whole)


def test_many_differences_are_judged_by_random_flips_close_to_the_t_test():
    # 9,999 flips: the standard error at p = 0.05 is 0.0022, and both tests agree at n = 200.
    for shift in (0.0, 0.12, 0.2):
        d = draw("many", int(100 * shift), shape=(200,), shift=shift)
        t_test = stats.ttest_1samp(d, 0).pvalue
        assert statistics.compute_flip_p_value(d) == pytest.approx(t_test, abs=0.012)
    assert statistics.compute_flip_p_value(d) == statistics.compute_flip_p_value(d)
    assert statistics.compute_flip_p_value(draw("far", shape=(40,), shift=5)) == 1 / 10_000


def test_the_sign_flip_test_holds_its_level_whatever_the_differences_are():
    # 4,000 studies of n = 10 with symmetric differences of uneven spread: 0.05 ± 0.0138 at four
    # standard errors from above (it is at most 0.05). A z test, planted, rejects in 0.08.
    spreads = np.array([0.1, 0.1, 0.2, 0.2, 0.5, 1, 1, 2, 4, 8])
    d = draw("level", shape=(4_000, 10)) * spreads
    rejected = np.mean([statistics.compute_flip_p_value(row) <= 0.05 for row in d])
    assert rejected <= 0.05 + 0.0138
    even = draw("planted", shape=(4_000, 10))
    z = np.abs(even.mean(axis=1)) / (even.std(axis=1, ddof=1) / math.sqrt(10)) > 1.96
    assert np.mean(z) > 0.0638
    exact = np.mean([statistics.compute_flip_p_value(row) <= 0.05 for row in even])
    assert abs(exact - 0.05) < 0.0138


def test_holm_of_a_hand_worked_case():
    assert statistics.correct_holm([0.01, 0.04, 0.03, math.nan]).tolist() == pytest.approx(
        [0.03, 0.06, 0.06, math.nan], nan_ok=True
    )
    assert statistics.correct_holm([]).tolist() == []
    assert statistics.correct_holm([0.6, 0.9]).tolist() == [1.0, 1.0]


def test_holm_equals_that_of_statsmodels():
    p = seeds.make_numpy_generator(1, "holm").uniform(0, 0.2, 25)
    np.testing.assert_allclose(
        statistics.correct_holm(p), multipletests(p, method="holm")[1], rtol=1e-12
    )


def test_holm_keeps_the_chance_of_any_false_claim_at_the_level():
    # 5,000 studies of 5 comparisons with one reference, nothing differs: 0.05 + 0.0123 at four
    # standard errors. Uncorrected, any of them is below 0.05 in 0.17 of studies.
    values = draw("holm", shape=(5_000, 10, 6))
    d = values[:, :, 1:] - values[:, :, :1]
    p = stats.ttest_1samp(d, 0, axis=1).pvalue
    any_claim = np.mean([(statistics.correct_holm(row) <= 0.05).any() for row in p])
    assert any_claim <= 0.0623
    assert np.mean((p <= 0.05).any(axis=1)) > 0.12


def test_one_comparison_adjusted_jointly_is_the_sign_flip_test():
    d = draw("joint", shape=(12,), shift=0.5)
    assert statistics.adjust_jointly(d[:, None])[0] == statistics.compute_flip_p_value(d)


def test_joint_p_values_are_those_of_the_slow_definition():
    d = draw("slow", shape=(10, 4), shift=0.5)
    d[2, 1] = math.nan  # a pair that one replicate lacks: nine are left
    d = np.vstack([d, draw("more", shape=(1, 4))])

    def find_t(x: np.ndarray) -> float:
        x = x[~np.isnan(x)]
        return abs(float(x.mean())) / (float(x.std(ddof=1)) / math.sqrt(len(x)))

    seen = np.array([find_t(column) for column in d.T])
    order = np.argsort(-seen)
    flips = [
        np.array([find_t(np.array(signs) * column) for column in d.T])
        for signs in itertools.product((1, -1), repeat=len(d))
    ]
    shares = [
        np.mean([flipped[order[i:]].max() >= seen[order[i]] * (1 - 1e-9) for flipped in flips])
        for i in range(4)
    ]
    expected = np.empty(4)
    expected[order] = np.maximum.accumulate(shares)
    np.testing.assert_allclose(statistics.adjust_jointly(d), expected)


def test_too_few_pairs_are_not_adjusted_and_do_not_count():
    d = draw("few", shape=(11, 3), shift=1)
    d[:2, 1] = math.nan  # nine pairs
    found = statistics.adjust_jointly(d)
    assert math.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], statistics.adjust_jointly(d[:, [0, 2]]))
    assert statistics.adjust_jointly(np.zeros((10, 2))).tolist() == [1.0, 1.0]
    assert statistics.adjust_jointly(np.ones((10, 1))).tolist() == [2 / 1024]


def test_the_joint_correction_keeps_the_chance_of_any_false_claim_over_all_pairs():
    # 600 studies of 5 equal values, all 10 pairs, n = 10: 0.05 + 0.0356 at four standard errors.
    # Uncorrected, a pair is below 0.05 in about 0.3 of studies.
    pairs = list(itertools.combinations(range(5), 2))
    claims = uncorrected = 0
    for values in draw("all pairs", shape=(600, 10, 5)):
        d = np.column_stack([values[:, a] - values[:, b] for a, b in pairs])
        claims += bool((statistics.adjust_jointly(d) <= 0.05).any())
        uncorrected += bool((stats.ttest_1samp(d, 0).pvalue <= 0.05).any())
    assert claims / 600 <= 0.0856 < uncorrected / 600


def test_equivalence_equals_that_of_statsmodels():
    a = draw("tost", shape=(15,))
    b = a + draw("tost b", shape=(15,)) / 5
    for margin in (0.05, 0.2, 0.5):
        theirs = ttost_paired(a, b, -margin, margin)[0]
        found = statistics.judge_equivalence(a, b, margin)
        assert found.p_value == pytest.approx(theirs, rel=1e-9)
        inside = abs(found.estimate.mean) + found.estimate.half_width < margin
        assert found.is_equivalent == inside == (theirs <= 0.05)


def test_equivalence_needs_ten_pairs_and_a_margin():
    assert math.isnan(statistics.judge_equivalence([0.0] * 9, [0.0] * 9, 1.0).p_value)
    assert not statistics.judge_equivalence([0.0] * 9, [0.0] * 9, 1.0).is_equivalent
    assert statistics.judge_equivalence([0.0] * 10, [0.0] * 10, 1.0).is_equivalent
    assert not statistics.judge_equivalence([1.0] * 10, [0.0] * 10, 1.0).is_equivalent
    with pytest.raises(UsageError, match="positive"):
        statistics.judge_equivalence([0.0] * 10, [0.0] * 10, 0.0)


def test_a_difference_at_the_margin_is_called_equivalent_in_five_percent_of_studies():
    # 4,000 studies of n = 12 whose true difference is the margin: 0.05 ± 0.0138. A planted verdict,
    # "the interval holds zero, therefore equal", would say so of a difference of half of the margin
    # in 0.4 of them.
    d = draw("margin", shape=(4_000, 12), shift=2)
    zeros = np.zeros(12)
    said = np.mean([statistics.judge_equivalence(row, zeros, 2.0).is_equivalent for row in d])
    assert abs(said - 0.05) < 0.0138
    assert np.mean(stats.ttest_1samp(d - 1.5, 0, axis=1).pvalue > 0.05) > 0.3


@for_each("case", [(1.0, 1.0, 0.05), (0.4, 1.1, 0.01), (0.05, 0.3, 0.05)])
def test_the_needed_replicates_equal_those_of_statsmodels(case: tuple[float, float, float]):
    difference, sd, alpha = case
    exact = TTestPower().solve_power(difference / sd, power=0.8, alpha=alpha)
    found = statistics.count_needed_replicates(difference, sd, alpha=alpha)
    assert found == max(math.ceil(exact), 10)


def test_needed_replicates_reach_what_a_sign_flip_test_can_show():
    # With 64 comparisons p must be below 0.00078, and 2/2^n is so from n = 12 on.
    assert statistics.count_needed_replicates(100, 1, alpha=0.05 / 64) == 12
    assert statistics.count_needed_replicates(1, 0.0) == 10
    assert statistics.count_needed_replicates(0.0, 1.0) is None
    assert statistics.count_needed_replicates(1e-4, 1.0) is None
    assert statistics.count_needed_replicates(math.nan, 1.0) is None


def test_so_many_replicates_tell_the_difference_in_80_percent_of_studies_by_flips_too():
    # 2,000 studies of the n that is said: 0.8 ± 0.036 at four standard errors; half of n sees it in
    # fewer than 0.6.
    n = statistics.count_needed_replicates(0.8, 1.0)
    assert n is not None
    seen = [
        np.mean(
            [
                statistics.compute_flip_p_value(row) <= 0.05
                for row in draw("power", size, shape=(2_000, size), shift=0.8)
            ]
        )
        for size in (n, 10)
    ]
    assert abs(seen[0] - 0.8) < 0.036
    assert seen[1] < 0.65


def test_power_of_a_test_equals_that_of_statsmodels():
    for n in (5, 12, 80):
        theirs = TTestPower().power(0.5, n, 0.05, alternative="larger")
        # One-sided at 0.05 is two-sided at 0.1 without the other tail.
        assert statistics.compute_power(0.5, 1.0, n, alpha=0.1) == pytest.approx(theirs, abs=1e-6)
    assert statistics.compute_power(1, 0, 5) == 1.0
    assert statistics.compute_power(0, 0, 5) == 0.05
    with pytest.raises(UsageError, match="at least 2"):
        statistics.compute_power(1, 1, 1)


def test_the_smallest_share_of_wins_that_a_sign_test_sees_is_exact():
    # n = 12 at 5 %: two losses or fewer reject (2·79/4096 = 0.0386).
    share = statistics.find_detectable_share(12)
    assert stats.binom.cdf(2, 12, 1 - share) == pytest.approx(0.8, abs=1e-9)
    assert math.isnan(statistics.find_detectable_share(5))
    # By brute force over n: the first whose rejection region has the power.
    needed = next(
        n
        for n in range(10, 500)
        for critical in [max(k for k in range(n) if stats.binom.cdf(k, n, 0.5) <= 0.025)]
        if stats.binom.cdf(critical, n, 0.3) >= 0.8
    )
    assert statistics.count_needed_wins(0.7) == statistics.count_needed_wins(0.3) == needed
    assert statistics.count_needed_wins(0.5) is None
    assert statistics.count_needed_wins(0.500001) is None


def test_a_search_beyond_ten_thousand_replicates_ends():
    assert power.MOST_REPLICATES == 10_000
    assert statistics.count_needed_replicates(0.029, 1.0) is not None
    assert statistics.count_needed_replicates(0.027, 1.0) is None
