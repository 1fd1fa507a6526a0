"""Mean-field theory of wide plain networks: where signals settle, and over how many layers two
inputs can be told apart.

A layer h' = W f(h) + b with weights N(0, σ_w²/fan_in) and biases N(0, σ_b²) takes, in the limit of
infinite width, the second moment q of its pre-activations and the correlation c of those of two
inputs to

    q' = σ_w² E f(√q·z)² + σ_b²,        c' = (σ_w² E f(u₁) f(u₂) + σ_b²) / q*,

(u₁, u₂) normal with variance q* and correlation c. With χ₁ = σ_w² E f'(√q*·z)², the growth of a
gradient's second moment per layer, the network is ordered (χ₁ < 1: all inputs become alike,
gradients die) or chaotic (χ₁ > 1: like inputs part, gradients explode). Correlations settle at c*
as e^(−layers/ξ) with ξ = −1/ln χ(c*), χ(c) = σ_w² E f'(u₁) f'(u₂). Networks were found to be
trainable up to a depth of about 6ξ, which is infinite if χ₁ = 1 only.

Sources: Poole et al., Exponential Expressivity in Deep Neural Networks Through Transient Chaos,
2016 (https://arxiv.org/abs/1606.05340); Schoenholz et al., Deep Information Propagation, 2017
(https://arxiv.org/abs/1611.01232).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.gains.activation_functions import ActivationLike, resolve_activation
from fanin.gains.gain_rules import moments

TRAINABLE = 6.0
"""Depth scales up to which networks were found to be trainable (Schoenholz et al. 2017, figure 5).
"""

_LAYERS = 2000
"""Layers after which a moment that still moves counts as settled: at criticality it falls as
1/layers.
"""
_CRITICAL = 1e-3
"""How close to 1 χ₁ is at criticality, as far as `_LAYERS` layers can tell."""
_SETTLED = 1e-12
_VANISHED, _EXPLODED = 1e-12, 1e12

_RANGE = 8.0
"""Standard deviations to either side: a mass of 1e-15 lies outside."""
_LEAST_NODES, _MOST_NODES = 200, 800
_SAME = 1e-9
"""The relative change of an integral that more nodes need not make smaller."""
_BISECTIONS = 30
_NEGLIGIBLE = 1e-9
"""A correlation below it counts as none."""


@dataclass(frozen=True)
class MeanField:
    """Where the signals of a wide plain network settle."""

    second_moment: float
    """q*: 0 if signals die, infinite if they explode."""
    chi: float
    """χ₁ at q*: what a gradient's second moment is multiplied by in each layer."""
    correlation: float
    """c*, the correlation that two different inputs end with."""
    depth_scale: float
    """ξ in layers; infinite at criticality."""
    phase: Literal["ordered", "critical", "chaotic"]


def mean_field(activation: ActivationLike, weight_std: float, bias_std: float = 0.0) -> MeanField:
    """The fixed point of a plain network's second moments and correlations, and its depth scale.

    Args:
        activation: a name or spec, a module, or an elementwise function (`fanin.gains.moments`).
        weight_std: σ_w, the gain on a weight's standard deviation 1/√fan_in.
        bias_std: σ_b.

    If q has no fixed point between 0 and infinity (ReLU off its critical line, tanh with σ_w < 1
    and σ_b = 0) signals shrink or grow by χ₁ a layer themselves, and the depth scale is that of
    their size, 1/|ln χ₁|.

    >>> point = mean_field("tanh", 1.5)
    >>> point.phase, round(point.second_moment, 3)
    ('chaotic', 0.793)

    Accuracy about 1e-6 for smooth functions (tanh and erf up to σ_w = 40), of c* 1e-5 and of ξ 2 %
    for those with kinks. Raises `SpecError` for a σ that is not a finite number of at least 0, and
    what `moments` raises. torch, Keras and JAX have no such function.
    """
    for name, value in (("weight_std", weight_std), ("bias_std", bias_std)):
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 <= value < math.inf
        ):
            raise SpecError(f"{name} must be a finite number of at least 0, not {quote(value)}.")
    q = _find_fixed_point(activation, weight_std, bias_std)
    inside = min(max(q, _VANISHED), _EXPLODED)
    chi = weight_std**2 * moments(activation, variance=inside).slope2
    phase: Literal["ordered", "critical", "chaotic"] = (
        "critical" if abs(chi - 1) < _CRITICAL else "ordered" if chi < 1 else "chaotic"
    )
    if phase == "critical":
        return MeanField(q, chi, 1.0, math.inf, phase)
    if not _VANISHED < q < _EXPLODED:
        return MeanField(0.0 if q <= _VANISHED else math.inf, chi, 1.0, _depth_scale(chi), phase)
    correlation, slope = _find_correlation(activation, weight_std, q, chi)
    return MeanField(q, chi, correlation, _depth_scale(slope), phase)


def _find_fixed_point(activation: ActivationLike, weight_std: float, bias_std: float) -> float:
    """q*, from q = 1; the least or the largest that is followed if q vanishes or explodes.

    After every second layer the sequence is extrapolated, as it converges linearly and near
    criticality slowly: hundreds of integrals become some ten.
    """
    q = before = 1.0
    for layer in range(1, _LAYERS + 1):
        after = weight_std**2 * moments(activation, variance=q).second + bias_std**2
        if not _VANISHED < after < _EXPLODED:
            return _VANISHED if after <= _VANISHED else _EXPLODED
        if abs(after - q) <= _SETTLED * q:
            return after
        before, q = q, after if layer % 2 else _extrapolate(before, q, after)
    return q


def _extrapolate(first: float, second: float, third: float) -> float:
    """The limit of three members of a sequence, q₃ + r/(1 − r)·(q₃ − q₂) with the ratio r of its
    two steps; q₃ itself where they do not shrink, or hardly, and never below q₃/5.

    Reference: A. C. Aitken, Proceedings of the Royal Society of Edinburgh 46, 1926.
    """
    step, before = third - second, second - first
    if not before or not 0 < step / before < 1 - _CRITICAL:
        return third
    limit = third + step * step / (before - step)
    return max(limit, third / 5)


def _find_correlation(
    activation: ActivationLike, weight_std: float, q: float, chi: float
) -> tuple[float, float]:
    """c* and χ(c*): 1 and χ₁ unless 1 is unstable, else the fixed point below it, by bisection.

    With q* settled, 1 − c' = σ_w² E (f(u₁) − f(u₂))² / (2q*), which loses no digits near c = 1,
    where two separate integrals would differ by their errors alone.
    """
    if chi <= 1 + 1e-6:
        return 1.0, chi
    nodes = _count_nodes(activation, q)

    def excess(c: float) -> float:
        return 1 - c - weight_std**2 * _separate(activation, q, c, nodes) / q

    low, high = 0.0, 1.0
    if excess(low) <= _NEGLIGIBLE:  # odd functions without biases: orthogonal inputs stay so
        return 0.0, weight_std**2 * _correlate_slopes(activation, q, 0.0, nodes)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return low, weight_std**2 * _correlate_slopes(activation, q, low, nodes)


def _count_nodes(activation: ActivationLike, q: float) -> int:
    """How many nodes an axis needs: the more, the sharper f is relative to √q. Doubled until the
    integral stays.
    """
    nodes = _LEAST_NODES
    before = _separate(activation, q, 0.5, nodes)
    while nodes < _MOST_NODES:
        after = _separate(activation, q, 0.5, 2 * nodes)
        if abs(after - before) <= _SAME * abs(after):
            break
        nodes, before = 2 * nodes, after
    return nodes


def _separate(activation: ActivationLike, q: float, c: float, nodes: int) -> float:
    """E (f(u₁) − f(u₂))² / 2 for normal u of variance q and correlation c."""
    (first, second), density = _make_pairs(q, c, nodes)
    function = resolve_activation(activation)
    with torch.no_grad():
        gap = function(first.clone()) - function(second.clone())
    return float(density @ gap.square() @ density[nodes // 2 :])


def _correlate_slopes(activation: ActivationLike, q: float, c: float, nodes: int) -> float:
    """E f'(u₁) f'(u₂) for normal u of variance q and correlation c."""
    pairs, density = _make_pairs(q, c, nodes)
    first, second = (_differentiate(activation, one) for one in pairs)
    return 2 * float(density @ (first * second) @ density[nodes // 2 :])


def _make_pairs(q: float, c: float, nodes: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """u₁ and u₂ at the nodes, shape (nodes, nodes/2), and the density along one axis.

    u = √(q(1 + c)/2)·z ± √(q(1 − c)/2)·w, of which half the plane, w > 0, is enough: the other half
    exchanges u₁ and u₂. The nodes are equidistant: for smooth functions such sums converge faster
    than any power of their distance, and no node is at 0, where most kinks are.
    """
    step = 2 * _RANGE / nodes
    z = (torch.arange(nodes, dtype=torch.float64, device="cpu") + 0.5) * step - _RANGE
    density = torch.exp(z.square() / -2) * (step / math.sqrt(math.tau))
    common = math.sqrt(q * (1 + c) / 2) * z.unsqueeze(1)
    apart = math.sqrt(q * (1 - c) / 2) * z[nodes // 2 :].unsqueeze(0)
    return (common + apart, common - apart), density


def _differentiate(activation: ActivationLike, x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        y = resolve_activation(activation)(leaf.clone())
        (slope,) = torch.autograd.grad(y.sum(), leaf)
    return slope


def _depth_scale(chi: float) -> float:
    return 0.0 if chi == 0 else 1 / abs(math.log(chi))
