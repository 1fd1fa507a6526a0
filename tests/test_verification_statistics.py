"""The tests of `fanin.verify`: against scipy, and by how often they give false alarms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import fanin
from fanin import seeds
from fanin.apply.verification_statistics import (
    Expected,
    adjust_holm,
    combine,
    measure_distance,
    measure_p_values,
)
from fanin.fans import get_tensor_layout

stats = pytest.importorskip("scipy.stats", reason='needs the extra "study"')


def draw(spec: str, rows: int, columns: int, stream: int = 0) -> Tensor:
    generator = seeds.make_generator(stream, "test")
    return fanin.get(spec).sample(get_tensor_layout((rows, columns)), generator).double()


def expect(spec: str) -> Expected:
    std = fanin.get(spec).intended_std(get_tensor_layout((2, 2)))
    assert std is not None
    return Expected(0.0, std, draw(spec, 40, 50, stream=99).flatten().sort().values)


def test_mean_and_variance_of_normal_numbers_are_those_of_scipy() -> None:
    values = draw("normal(std=2.0)", 1, 40).flatten()
    found = measure_p_values(values, Expected(0.0, 2.0, expect("normal(std=2.0)").reference))
    z = math.sqrt(40) * float(values.mean()) / 2
    assert found["mean"] == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)
    total = float(values.square().sum()) / 4
    exact = 2 * min(stats.chi2.sf(total, 40), stats.chi2.cdf(total, 40))
    assert found["variance"] == pytest.approx(exact, rel=0.1)  # κ of the reference is near 3


def test_the_distance_is_that_of_scipy() -> None:
    reference = expect("normal(std=1.0)").reference
    assert reference is not None
    for spec in ("normal(std=1.0)", "uniform(low=-1.7, high=1.7)"):
        values = draw(spec, 1, 200).flatten()
        exact = stats.ks_2samp(values.numpy(), reference.numpy(), method="asymp")
        assert measure_distance(values, reference) == pytest.approx(exact.statistic, abs=1e-12)
        found = measure_p_values(values, Expected(0.0, 1.0, reference))["distribution"]
        assert found == pytest.approx(exact.pvalue, abs=0.02)


def test_ties_count_as_one_step() -> None:
    assert measure_distance(torch.zeros(5).double(), torch.zeros(7).double()) == 0


RULES = ("normal(std=1.0)", "uniform(low=-1.0, high=1.0)", "truncated_normal(std=1.0)")


@pytest.mark.parametrize("n", [1, 4, 20, 200])
@pytest.mark.parametrize("spec", RULES)
def test_false_alarms_are_as_rare_as_the_level_says(spec: str, n: int) -> None:
    """1,000 samples at level 0.05: more than 73 alarms have a probability below 0.001 if 0.05 is
    right (the binomial distribution).
    """
    expected, samples = expect(spec), draw(spec, 1000, n)
    p_values = [combine(measure_p_values(row, expected)) for row in samples]
    alarms = sum(value is not None and value <= 0.05 for value in p_values)
    assert stats.binom.sf(73, 1000, 0.05) < 0.001
    assert alarms <= 73


@pytest.mark.parametrize("spec", RULES)
def test_planted_mistakes_are_found(spec: str) -> None:
    """n = 2,000: a spread that is 10 % off, a mean of 0.15 standard deviations."""
    expected, values = expect(spec), draw(spec, 1, 2000).flatten()
    for wrong in (values * 1.1, values * 0.9, values + 0.15 * expected.std):
        found = combine(measure_p_values(wrong, expected))
        assert found is not None
        assert found < 1e-4
    right = combine(measure_p_values(values, expected))
    assert right is not None
    assert right > 0.01


def test_a_constant_is_compared_exactly() -> None:
    ones = torch.ones(5, dtype=torch.float64)
    assert measure_p_values(ones, Expected(1.0, 0.0)) == {"constant": 1.0}
    assert measure_p_values(ones * 1.1, Expected(1.0, 0.0)) == {"constant": 0.0}
    assert measure_p_values(ones[:0], Expected(1.0, 0.0)) == {}


def test_numbers_that_are_not_finite_have_no_probability() -> None:
    values = torch.tensor([1.0, math.nan, 2.0], dtype=torch.float64)
    assert combine(measure_p_values(values, Expected(0.0, 1.0))) == 0.0


def test_holm_is_that_of_scipys_definition() -> None:
    """m = 4: the smallest times 4, the next times 3, …, and never falling."""
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([]) == []
    assert adjust_holm([0.9, 0.8]) == [1.0, 1.0]
