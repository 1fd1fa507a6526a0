"""random_walk: the logarithm of a signal's norm does not drift, at widths at which He's and LeCun's
variance lets it fall.

n = 40,000 layers of width 16. The standard error of the mean log |Wx|² is below 0.004; tolerances
are 4.9 of them (level 1e-6) and 0.004 for what the formulas, which are approximations, leave.
"""

from __future__ import annotations

import math

import pytest
import torch
from initializer_cases import generator

from fanin import initializers
from fanin.fans import Fans, WeightLayout

special = pytest.importorskip("scipy.special", reason="the exact drift is a digamma function")

WIDTH, LAYERS = 16, 40_000
STACK = WeightLayout((WIDTH * LAYERS, WIDTH), Fans(WIDTH, WIDTH), groups=LAYERS)
"""As many independent square layers as groups."""


def drift(spec: str, *, rectified: bool) -> tuple[float, float]:
    """The mean of log |f(Wx)|² over layers, for |x| = 1, and its standard error; layers that are
    silent are left out.
    """
    matrices = STACK.to_matrices(initializers.get(spec).sample(STACK, generator(3)))
    x = torch.randn(WIDTH, generator=generator(4)).double()
    out = matrices.double() @ (x / x.norm())
    norms = (out.relu() if rectified else out).square().sum(1)
    logs = norms[norms > 0].log()
    return logs.mean().item(), logs.std().item() / math.sqrt(logs.numel())


def stands_still(spec: str, *, rectified: bool) -> bool:
    mean, error = drift(spec, rectified=rectified)
    assert error < 0.004
    return abs(mean) < 4.9 * error + 0.004


def test_linear_layers_do_not_drift_with_a_random_walk_and_do_with_lecuns_variance() -> None:
    assert stands_still("random_walk", rectified=False)
    assert not stands_still("lecun_normal", rectified=False)


def test_rectified_layers_do_not_drift_with_a_random_walk_and_do_with_hes_variance() -> None:
    assert stands_still("random_walk(activation=relu)", rectified=True)
    assert not stands_still("he_normal", rectified=True)


@pytest.mark.parametrize("width", [4, 16, 64, 1000])
def test_the_linear_gain_is_the_one_that_makes_the_mean_log_norm_zero(width: int) -> None:
    """E log χ²_n = ψ(n/2) + log 2; exp(1/(2n)) takes the first term of its expansion and leaves
    1/(3n²) of log g².
    """
    std = initializers.get("random_walk").intended_std(
        WeightLayout((width, width), Fans(width, width))
    )
    left = special.digamma(width / 2) + math.log(2) + 2 * math.log(std)
    assert abs(left) < 0.4 / width**2


@pytest.mark.parametrize(
    ("activation", "plain"), [("linear", "lecun_normal"), ("relu", "he_normal")]
)
def test_wide_layers_are_those_of_the_plain_law(activation: str, plain: str) -> None:
    layout = WeightLayout((10_000, 10_000), Fans(10_000, 10_000))
    walk = initializers.get(f"random_walk(activation={activation})").intended_std(layout)
    assert walk == pytest.approx(initializers.get(plain).intended_std(layout), rel=2e-4)


def test_the_rectified_gain_is_bounded_at_small_widths() -> None:
    stds = [
        initializers.get("random_walk(activation=relu)").intended_std(
            WeightLayout((9, n), Fans(n, 9))
        )
        for n in (1, 2, 3, 6)
    ]
    gains = [std * math.sqrt(n) for std, n in zip(stds, (1, 2, 3, 6), strict=True)]
    assert gains == pytest.approx([math.sqrt(2) * math.exp(1.2 / 3.6)] * 4)
