"""Step sizes and decays of state-space layers against the laws that they are made of."""

from __future__ import annotations

import math

import pytest
import torch
from initializer_cases import filled

import fanin
from fanin.errors import SpecError
from fanin.fans import WeightLayout

stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")

N = 200_000
LEVEL = 1e-6
"""Of each Kolmogorov-Smirnov test."""


def draw(spec: str) -> torch.Tensor:
    return filled(spec, torch.empty(N)).double()


def test_steps_are_log_uniform() -> None:
    """A planted range up to 0.11 fails."""
    steps = torch.nn.functional.softplus(draw("mamba_dt_bias")).log().numpy()
    for high, fits in ((0.1, True), (0.11, False)):
        low = math.log(0.001)
        law = stats.uniform(low - 1e-5, math.log(high) - low + 2e-5)
        assert bool(stats.ks_1samp(steps, law.cdf, method="asymp").pvalue > LEVEL) is fits


def test_steps_are_not_below_the_floor() -> None:
    steps = torch.nn.functional.softplus(draw("mamba_dt_bias(floor=0.01)"))
    assert steps.min().item() == pytest.approx(0.01, rel=1e-5)
    # log-uniform over two decades: half of them lie below 0.01
    assert (steps < 0.01001).double().mean().item() == pytest.approx(0.5, abs=0.01)


def test_decays_are_uniform() -> None:
    """A planted range up to 17 fails."""
    decays = draw("mamba_a_log").exp().numpy()
    for high, fits in ((16.0, True), (17.0, False)):
        law = stats.uniform(1 - 1e-5, high - 1 + 2e-5)
        assert bool(stats.ks_1samp(decays, law.cdf, method="asymp").pvalue > LEVEL) is fits


@pytest.mark.parametrize("spec", ["mamba_dt_bias", "mamba_dt_bias(floor=0.01)", "mamba_a_log"])
def test_intended_moments_are_those_of_many_draws(spec: str) -> None:
    """Six standard errors of the mean of 200,000 draws."""
    made, drawn = fanin.get(spec), draw(spec)
    std = made.intended_std(WeightLayout((N,), None))
    assert std is not None
    assert abs(drawn.mean().item() - made.intended_mean) < 6 * std / math.sqrt(N)
    assert drawn.std().item() == pytest.approx(std, rel=0.01)


def test_equal_ends_give_one_number() -> None:
    assert filled("mamba_a_log(low=4.0, high=4.0)", torch.empty(3)).tolist() == pytest.approx(
        [math.log(4)] * 3
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mamba_dt_bias(low=0.5, high=0.1)", "low=0.5 and high=0.1"),
        ("mamba_a_log(low=0.0)", "0 < low"),
        ("mamba_dt_bias(floor=-1.0)", "at least 0"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(spec: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        fanin.get(spec)
