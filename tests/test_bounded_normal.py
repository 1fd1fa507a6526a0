"""The normal between two bounds: its moments, its law, its ends, and what cannot be drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from combinations import for_each
from torch import Tensor, nn

import fanin
from fanin import fans, seeds
from fanin.errors import SpecError
from fanin.initializers import TruncatedNormal
from fanin.initializers.bounded_normal import BoundedNormal

stats = pytest.importorskip("scipy.stats", reason="the laws come from scipy")
integrate = pytest.importorskip("scipy.integrate", reason="the moments are compared to integrals")

LEVEL = 1e-4
INTERVALS = [
    (-2.0, 2.0),
    (-1.0, 3.0),
    (0.5, math.inf),
    (-math.inf, -3.0),
    (5.0, 6.0),
    (1.0, 1.3),
    (-25.0, -24.5),
    (20.0, math.inf),
    (-0.5, -0.49),
    (0.3, 0.3001),
]
"""In standard deviations: even, uneven, half, tails, narrow."""


def make(low: float, high: float, mean: float = 0.0, std: float = 1.0) -> TruncatedNormal:
    bounds = {
        name: mean + std * bound
        for name, bound in (("low", low), ("high", high))
        if math.isfinite(bound)
    }
    return TruncatedNormal(mean=mean, std=std, **bounds)


def draw(initializer: TruncatedNormal, seed: int = 0) -> Tensor:
    """210,000 numbers."""
    return initializer(torch.empty(300, 700), generator=torch.Generator().manual_seed(seed))


def integrate_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation by adaptive quadrature, relative to the nearest end."""
    start = low if abs(low) < abs(high) else high
    ends = (max(low, start - 12) - start, min(high, start + 12) - start)

    def moment(power: int, centre: float = 0.0) -> float:
        return float(
            integrate.quad(
                lambda t: (t - centre) ** power * math.exp(-start * t - t * t / 2),
                *ends,
                epsabs=0,
                epsrel=1e-12,
                limit=500,
            )[0]
        )

    mean = moment(1) / moment(0)
    return start + mean, math.sqrt(moment(2, mean) / moment(0))


@for_each("low, high", INTERVALS)
def test_mean_and_std_are_the_integrals(low: float, high: float) -> None:
    found = BoundedNormal(low, high)
    mean, std = integrate_moments(low, high)
    assert found.mean == pytest.approx(mean, rel=1e-7, abs=1e-12)
    assert found.std == pytest.approx(std, rel=1e-6)


@for_each("low, high", INTERVALS)
def test_a_draw_has_the_intended_moments_and_stays_inside(low: float, high: float) -> None:
    """n = 210,000; within 4.9 standard errors (level 1e-6 each), beyond fp32's spacing."""
    initializer = make(low, high, mean=0.25, std=0.5)
    x = draw(initializer).double()
    std = initializer.intended_std(fans.get_tensor_layout(x))
    spacing = 1e-7 * max(abs(0.25 + 0.5 * bound) for bound in (low, high) if math.isfinite(bound))
    error = 4.9 / math.sqrt(x.numel())
    spread = (x - x.mean()).square().std().item() / (2 * std)
    assert x.mean().item() == pytest.approx(initializer.intended_mean, abs=std * error + spacing)
    assert x.std().item() == pytest.approx(std, abs=spread * error + spacing)
    if initializer.low is not None:
        assert x.min().item() >= initializer.low
    if initializer.high is not None:
        assert x.max().item() <= initializer.high


@for_each("low, high", [(-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0)])
def test_a_draw_follows_the_law_and_a_planted_shift_is_caught(low: float, high: float) -> None:
    """KS at level 1e-4, n = 210,000: a shift by 3 % of the standard deviation is caught."""
    x = draw(make(low, high)).double().flatten().numpy()
    law = stats.truncnorm(low, high)
    assert stats.ks_1samp(x, law.cdf, method="asymp").pvalue > LEVEL
    assert stats.ks_1samp(x + 0.03 * x.std(), law.cdf, method="asymp").pvalue < LEVEL


def test_bounds_that_lie_evenly_are_the_cut() -> None:
    cut, bounds = draw(TruncatedNormal(std=0.5)), draw(make(-2.0, 2.0, std=0.5))
    assert torch.allclose(cut, bounds, atol=1e-6)
    layout = fans.get_tensor_layout(cut)
    assert make(-2.0, 2.0, std=0.5).intended_std(layout) == pytest.approx(
        TruncatedNormal(std=0.5).intended_std(layout), rel=1e-12
    )
    assert make(-2.0, 2.0, std=0.5).intended_mean == pytest.approx(0.0, abs=1e-15)


@for_each("low, high", INTERVALS)
def test_a_larger_z_gives_a_larger_weight(low: float, high: float) -> None:
    shape = (10_000,)
    z = seeds.standard_normal(shape, torch.Generator().manual_seed(0))
    w = BoundedNormal(low, high).sample(shape, torch.Generator().manual_seed(0))
    assert (w[z.argsort()].diff() >= 0).all()


def test_the_extremes_of_z_stay_inside_and_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    extreme = torch.tensor([-40.0, -6.0, 0.0, 6.0, 40.0])
    monkeypatch.setattr(
        "fanin.initializers.bounded_normal.standard_normal", lambda *_: extreme.clone()
    )
    for low, high in INTERVALS:
        w = BoundedNormal(low, high).sample((5,), torch.Generator())
        assert (w >= low).all()
        assert (w <= high).all()
        assert w[1:4].isfinite().all()


def test_bounds_that_fp32_does_not_have_are_kept() -> None:
    x = draw(TruncatedNormal(std=0.05, low=-0.1, high=0.1)).double()
    assert x.min().item() >= -0.1
    assert x.max().item() <= 0.1
    assert float(np.float32(0.1)) > 0.1


@for_each("spec", ["truncated_normal(low=0.5, high=0.5)", "uniform(low=0.5, high=0.5)"])
def test_equal_bounds_are_a_constant(spec: str) -> None:
    made = fanin.get(spec)
    x = made(torch.empty(6, 7), generator=torch.Generator().manual_seed(0))
    assert (x == 0.5).all()
    assert made.intended_std(fans.get_tensor_layout(x)) == 0
    assert made.intended_mean == pytest.approx(0.5)


def test_without_a_spread_all_is_the_mean() -> None:
    made = TruncatedNormal(mean=0.5, std=0.0, low=0.0, high=2.0)
    assert (draw(made) == 0.5).all()
    assert (made.intended_mean, made.intended_std(fans.get_tensor_layout((2, 3)))) == (0.5, 0.0)


@for_each(
    "spec, says",
    [
        ("truncated_normal(low=1.0, high=0.5)", "low <= high"),
        ("truncated_normal(low=0.0, cut=3.0)", "takes cut .* or low and high"),
        ("truncated_normal(std=0.001, low=1.0, high=2.0)", "more than 30 standard deviations"),
        ("truncated_normal(mean=100.0, std=1.0, high=2.0)", "more than 30 standard deviations"),
        ("truncated_normal(mean=3.0, std=0.0, low=0.0, high=2.0)", "has nothing between"),
        ("uniform(low=1.0, high=0.5)", "low <= high"),
    ],
)
def test_bounds_that_hold_nothing_are_an_error(spec: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        fanin.get(spec)


def test_the_record_says_that_the_mean_is_not_zero() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Linear(30, 40)
    spec = "truncated_normal(std=0.02, low=-0.01, high=0.04)"
    record = fanin.initialize(model, spec, seed=0)
    assert record["weight"].reason == "weight of Linear; its intended mean is 0.008915, not 0"
    assert model.weight.mean().item() == pytest.approx(0.008915, abs=0.0015)
    even = fanin.initialize(model, "truncated_normal(std=0.02)", seed=0, biases="normal(mean=1.0)")
    assert [item.reason for item in even] == ["weight of Linear", "bias of Linear"]
    assert "mean is 0.5" in fanin.initialize(model, "uniform", seed=0)["weight"].reason
