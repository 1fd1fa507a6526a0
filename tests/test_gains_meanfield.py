"""Mean-field theory: known phases and fixed points, and a wide random network that agrees."""

from __future__ import annotations

import math

import numpy as np
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
    # Followed by the map itself, whose integral is computed another way here: the distance from c*
    # falls by e^(−1/ξ) in a layer.
    found = mean_field("tanh", 1.8, 0.4)
    q = found.second_moment
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()
    x, y = nodes[:, None], nodes[None, :]
    distances = []
    c = found.correlation + 0.05
    for _ in range(6):
        pairs = np.tanh(math.sqrt(q) * x) * np.tanh(
            math.sqrt(q) * (c * x + math.sqrt(1 - c * c) * y)
        )
        c = (1.8**2 * float(weights @ pairs @ weights) + 0.4**2) / q
        distances.append(c - found.correlation)
    assert distances[-1] / distances[-2] == pytest.approx(
        math.exp(-1 / found.depth_scale), rel=1e-2
    )


@pytest.mark.parametrize(
    ("weight_std", "bias_std"), [(1.5, 0.2), (4.0, 0.5), (20.0, 1.0), (40.0, 2.0)]
)
def test_of_erf_the_correlation_has_a_closed_form(weight_std: float, bias_std: float) -> None:
    """E erf(u₁) erf(u₂) = 2/π · asin(2qc / (1 + 2q)) (Williams 1998), also deep in the chaos."""

    def follow(q: float, c: float) -> float:
        return weight_std**2 * 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)) + bias_std**2

    q, c = 1.0, 0.5
    for _ in range(500):
        q = follow(q, 1.0)
    for _ in range(500):
        c = follow(q, c) / q
    share = 2 * q / (1 + 2 * q)
    slope = weight_std**2 * 2 / math.pi * share / math.sqrt(1 - (share * c) ** 2) / q
    found = mean_field(torch.erf, weight_std, bias_std)
    assert found.second_moment == pytest.approx(q, rel=1e-8)
    assert found.correlation == pytest.approx(c, abs=1e-8)
    assert found.depth_scale == pytest.approx(-1 / math.log(slope), rel=3e-6)


# By SciPy's adaptive quadrature, nested: f(u₁) times the mean of f(u₂) given u₁, and the slope of
# that map by differences of 1e-3.
GOLDEN = [
    ("tanh", 4.0, 0.05, 12.503479819, 0.00085153890, 3.736609, 2e-6),
    ("tanh", 4.0, 1.0, 13.641748715, 0.25438382873, 3.125078, 2e-6),
    ("tanh", 10.0, 1.0, 92.751647952, 0.03374274167, 2.600216, 2e-6),
    ("hardtanh", 1.5, 0.1, 1.2775298467, 0.06292158138, 7.571456, 2e-3),
]


@pytest.mark.parametrize(
    ("activation", "weight_std", "bias_std", "second", "correlation", "depth", "error"), GOLDEN
)
def test_deep_in_the_chaos_unlike_inputs_stay_unlike(
    activation: str,
    weight_std: float,
    bias_std: float,
    second: float,
    correlation: float,
    depth: float,
    error: float,
) -> None:
    found = mean_field(activation, weight_std, bias_std)
    assert found.phase == "chaotic"
    assert found.second_moment == pytest.approx(second, rel=1e-9)
    assert found.correlation == pytest.approx(correlation, abs=error / 10)
    assert found.depth_scale == pytest.approx(depth, rel=error)


def test_without_biases_an_odd_function_keeps_orthogonal_inputs_orthogonal() -> None:
    assert mean_field("tanh", 4.0).correlation == 0


@pytest.mark.parametrize(
    ("weight_std", "bias_std"), [(-1, 0), (math.nan, 0), (1, -0.1), (True, 0), (math.inf, 0)]
)
def test_standard_deviations_must_be_finite_numbers_of_at_least_0(
    weight_std: float, bias_std: float
) -> None:
    with pytest.raises(SpecError, match="finite number of at least 0"):
        mean_field("tanh", weight_std, bias_std)
