"""Moments in closed form, as functions of the variance and of the activation's options; None if
there is none.

Derived from E e^{kx} over half lines (elu), partial moments of the normal distribution (hardtanh,
hardswish) and Stein's identity (gelu). At unit variance gelu has E f² = 1/3 + 1/(2π√3) and E f'² =
1/3 + 2/(3π√3).
"""

from __future__ import annotations

import math
from statistics import fmean

import torch

from fanin.errors import SpecError
from fanin.gains.quadrature import Moments

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def none(_variance: float, **_options: object) -> None:
    """No closed form."""


def linear(variance: float) -> Moments:
    """f(x) = x."""
    return Moments(0.0, variance, 1.0)


def rectifier(variance: float, negative_slope: float | tuple[float, ...] = 0.0) -> Moments:
    """f(x) = x above 0 and a·x below; the average over several slopes a."""
    slopes = negative_slope if isinstance(negative_slope, tuple) else (negative_slope,)
    if not slopes:
        raise SpecError(
            "prelu needs at least one slope, such as prelu(weight=0.25); received none."
        )
    mean, square = fmean(slopes), fmean(slope * slope for slope in slopes)
    return Moments(
        (1 - mean) * math.sqrt(variance / math.tau), variance * (1 + square) / 2, (1 + square) / 2
    )


def squared_relu(variance: float) -> Moments:
    """f(x) = max(x, 0)²."""
    return Moments(variance / 2, 1.5 * variance * variance, 2 * variance)


def elu(variance: float, alpha: float, scale: float = 1.0) -> Moments | None:
    """f(x) = scale · x above 0, scale · alpha · (eˣ − 1) below."""
    if variance < 0.01:
        return None  # the terms of E f² cancel
    # E e^{kx} over x < 0 is erfcx(k·√(variance/2))/2, without overflow.
    roots = torch.tensor([1.0, 2.0], dtype=torch.float64, device="cpu") * math.sqrt(variance / 2)
    one, two = (torch.special.erfcx(roots) / 2).tolist()
    mean = math.sqrt(variance / math.tau) + alpha * (one - 0.5)
    second = variance / 2 + alpha * alpha * (two - 2 * one + 0.5)
    return Moments(
        scale * mean, scale * scale * second, scale * scale * (0.5 + alpha * alpha * two)
    )


def selu(variance: float) -> Moments | None:
    """ELU with the constants of Klambauer et al. 2017 (https://arxiv.org/abs/1706.02515): mean 0, E
    f² = 1 at variance 1.
    """
    return elu(variance, _SELU_ALPHA, _SELU_SCALE)


def gelu(variance: float, approximate: str | None) -> Moments | None:
    """f(x) = x·Φ(x); the tanh approximation has none."""
    if approximate == "tanh":
        return None
    ratio, wide = variance / (1 + variance), 1 + 2 * variance
    square = 0.25 + math.asin(ratio) / math.tau  # E Φ(x)²
    bell = 1 / (math.tau * math.sqrt(wide))  # E φ(x)²
    mean = variance / math.sqrt(math.tau * (1 + variance))
    return Moments(
        mean, variance * (square + 2 * ratio * bell), square + (2 * ratio + variance / wide) * bell
    )


def hardtanh(variance: float, min_val: float, max_val: float) -> Moments:
    """f(x) = x between min_val and max_val, and the nearer of them outside."""
    if min_val >= max_val:
        raise SpecError(
            f"hardtanh needs min_val below max_val, such as -1 and 1; received {min_val} and "
            f"{max_val}."
        )
    std = math.sqrt(variance)
    a, b = min_val / std, max_val / std
    below, above = _beyond(-a), _beyond(b)
    inside = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
    # For a narrow interval these are differences of nearly equal numbers: expm1 and a series keep
    # their digits.
    near, sign = (a, -1) if abs(a) <= abs(b) else (b, 1)
    mean = (
        min_val * below
        + max_val * above
        + std * sign * _density(near) * math.expm1(-abs(a - b) * abs(a + b) / 2)
    )
    moment = inside + a * _density(a) - b * _density(b)  # E z² over the interval
    if max(abs(a), abs(b)) < 1e-3:
        moment = ((b**3 - a**3) / 3 - (b**5 - a**5) / 10) * _density(0)
    return Moments(
        mean, min_val * min_val * below + max_val * max_val * above + variance * moment, inside
    )


def relu6(variance: float) -> Moments:
    """f(x) = min(max(x, 0), 6)."""
    return hardtanh(variance, 0.0, 6.0)


def hardswish(variance: float) -> Moments | None:
    """f(x) = x·min(max(x + 3, 0), 6)/6."""
    if variance > 1e6:
        return None  # the terms of E x² over |x| < 3 cancel
    std = math.sqrt(variance)
    c = 3 / std
    bell, tail = _density(c), _beyond(c)
    inside = math.erf(c / math.sqrt(2))
    # E x² and E x⁴ over |x| < 3.
    two = variance * (inside - 2 * c * bell)
    four = variance * variance * (3 * inside - 2 * c * bell * (c * c + 3))
    return Moments(
        two / 6 + std * bell,
        four / 36 + two / 4 + variance * (tail + c * bell),
        two / 9 + inside / 4 + tail,
    )


def sin(variance: float, omega: float) -> Moments:
    """f(x) = sin(omega·x)."""
    exponent = -2 * omega * omega * variance
    return Moments(0.0, -math.expm1(exponent) / 2, omega * omega * (1 + math.exp(exponent)) / 2)


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(math.tau)


def _beyond(x: float) -> float:
    """P(z > x)."""
    return math.erfc(x / math.sqrt(2)) / 2
