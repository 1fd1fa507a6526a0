"""Mean-field theory: known phases and fixed points, and a wide random network that agrees."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fanin import seeds
from fanin.errors import SpecError
from fanin.gains import mean_field

WIDTH = 3000


@pytest.mark.parametrize(
    ("activation", "weight_std", "bias_std", "phase"),
    [
        ("tanh", 0.9, 0.0, "ordered"),
        ("tanh", 1.0, 0.0, "critical"),
        ("tanh", 1.1, 0.0, "chaotic"),
        ("tanh", 1.0, 0.3, "ordered"),
        ("tanh", 2.5, 0.3, "chaotic"),
        ("relu", 1.2, 0.0, "ordered"),
        ("relu", math.sqrt(2), 0.0, "critical"),
        ("relu", 1.6, 0.0, "chaotic"),
        ("relu", 1.2, 0.5, "ordered"),
        ("identity", 1.0, 0.0, "critical"),
    ],
)
def test_phases_are_those_of_the_literature(
    activation: str, weight_std: float, bias_std: float, phase: str
) -> None:
    found = mean_field(activation, weight_std, bias_std)
    assert found.phase == phase
    assert math.isinf(found.depth_scale) == (phase == "critical")


def test_relu_has_a_closed_form_off_its_critical_line() -> None:
    # With biases q* = σ_b² / (1 − σ_w²/2), and χ₁ = σ_w²/2 everywhere.
    found = mean_field("relu", 1.2, 0.5)
    assert found.second_moment == pytest.approx(0.25 / (1 - 0.72), rel=1e-6)
    assert found.chi == pytest.approx(0.72, rel=1e-9)
    assert found.depth_scale == pytest.approx(-1 / math.log(0.72), rel=1e-9)
    assert mean_field("relu", 1.2).second_moment == 0
    assert mean_field("relu", 1.6).second_moment == math.inf


def test_the_scale_of_a_tanh_network_below_criticality_is_that_of_a_linear_one() -> None:
    assert mean_field("tanh", 0.8).depth_scale == pytest.approx(-1 / math.log(0.64), rel=1e-6)


def test_the_depth_scale_falls_with_the_distance_from_criticality() -> None:
    below = [mean_field("tanh", s, 0.2).depth_scale for s in (0.6, 0.8, 1.0)]
    above = [mean_field("tanh", s, 0.2).depth_scale for s in (2.0, 2.5, 3.0)]
    assert below == sorted(below)
    assert above == sorted(above, reverse=True)


def propagated(weight_std: float, bias_std: float, layers: int) -> tuple[float, float]:
    """Second moment and correlation of two inputs after so many random tanh layers."""
    x = seeds.standard_normal((2, WIDTH), seeds.make_generator(0, "x"))
    x[1] = 0.9 * x[0] + math.sqrt(1 - 0.81) * x[1]
    for layer in range(layers):
        weight = seeds.standard_normal((WIDTH, WIDTH), seeds.make_generator(0, "w", layer)) * (
            weight_std / math.sqrt(WIDTH)
        )
        bias = seeds.standard_normal((WIDTH,), seeds.make_generator(0, "b", layer)) * bias_std
        x = torch.tanh(x) @ weight.T + bias
    return float(x.square().mean()), float(correlation(x))


def correlation(x: Tensor) -> Tensor:
    return (x[0] @ x[1]) / (x[0].norm() * x[1].norm())


def test_a_wide_random_network_settles_where_the_theory_says() -> None:
    # Width 3,000: q scatters by about √(2/3000) = 2.6 % around q*, the correlation by less. A
    # mistake in either formula (σ_w for σ_w², the slope for the value) moves both by more than 10
    # %.
    found = mean_field("tanh", 1.8, 0.4)
    second, settled = propagated(1.8, 0.4, 25)
    assert second == pytest.approx(found.second_moment, rel=0.1)
    assert settled == pytest.approx(found.correlation, abs=0.05)
    assert 0.1 < found.correlation < 0.9


def test_correlations_settle_at_the_rate_of_the_depth_scale() -> None:
    # Followed by the map itself: the distance from c* falls by e^(−1/ξ) in a layer.
    from fanin.gains.mean_field import _integrate_pair

    found = mean_field("tanh", 1.8, 0.4)
    q = found.second_moment
    distances = []
    c = found.correlation + 0.05
    for _ in range(6):
        c = (1.8**2 * _integrate_pair("tanh", q, c)[0] + 0.4**2) / q
        distances.append(c - found.correlation)
    assert distances[-1] / distances[-2] == pytest.approx(
        math.exp(-1 / found.depth_scale), rel=1e-2
    )


@pytest.mark.parametrize(
    ("weight_std", "bias_std"), [(-1, 0), (math.nan, 0), (1, -0.1), (True, 0), (math.inf, 0)]
)
def test_standard_deviations_must_be_finite_numbers_of_at_least_0(
    weight_std: float, bias_std: float
) -> None:
    with pytest.raises(SpecError, match="finite number of at least 0"):
        mean_field("tanh", weight_std, bias_std)
