"""What each step of a model makes of the mean and the variance of a signal, in closed form or by
quadrature.

Sources: Bingham and Miikkulainen, AutoInit (https://arxiv.org/abs/2109.08958), for the idea and the
assumptions: the numbers of a signal are normal and independent. The formulas are elementary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from fanin.fans import describe_parameters
from fanin.gains.normal_response import Activation
from fanin.structure import Node
from fanin.structure.passages import Passage, is_max_pool, is_pool
from fanin.structure.tensor_moments import Shapes, measure_tensor

_TINY = 1e-30
_MEAN_SQUARE = re.compile(r"rms", re.IGNORECASE)
_UNCENTRED = re.compile(r"^normalize$|weight_?norm|l2", re.IGNORECASE)
_OTHER_POOLS = re.compile(r"lp_?pool|fractional|unpool", re.IGNORECASE)


@dataclass(frozen=True)
class MeanVariance:
    """The numbers of a signal over samples, units and places."""

    mean: float
    variance: float
    units: int | None = None
    """Units or channels, where they are known."""

    @property
    def second(self) -> float:
        """μ² + ν."""
        return self.mean**2 + self.variance


def from_second(mean: float, second: float, units: int | None = None) -> MeanVariance:
    """Of a mean and a second moment."""
    return MeanVariance(mean, max(second - mean * mean, 0.0), units)


def measure(tensor: Tensor) -> MeanVariance | None:
    """Of the numbers of a tensor; None if it has none, or they are not finite."""
    second, mean = measure_tensor(tensor)
    return from_second(mean, second) if math.isfinite(second) else None


def add(parts: Sequence[MeanVariance], *, subtract: bool = False) -> MeanVariance:
    """Means add up, and so do variances."""
    signs = [-1.0 if subtract and index else 1.0 for index in range(len(parts))]
    return MeanVariance(
        sum(sign * one.mean for sign, one in zip(signs, parts, strict=True)),
        sum(one.variance for one in parts),
        max((one.units for one in parts if one.units is not None), default=None),
    )


def multiply(first: MeanVariance, second: MeanVariance) -> MeanVariance:
    """Means multiply, and so do second moments."""
    units = first.units if first.units is not None else second.units
    return from_second(first.mean * second.mean, first.second * second.second, units)


def join(parts: Sequence[MeanVariance], sizes: Sequence[float]) -> MeanVariance:
    """Signals beside one another: mean and second moment are averages by size."""
    total = sum(sizes)
    units = [one.units for one in parts]
    known = [one for one in units if one is not None]
    return from_second(
        sum(one.mean * size for one, size in zip(parts, sizes, strict=True)) / total,
        sum(one.second * size for one, size in zip(parts, sizes, strict=True)) / total,
        sum(known) if len(known) == len(units) else None,
    )


def activate(activation: Activation, signal: MeanVariance) -> MeanVariance:
    """E f(x) and Var f(x) for normal x, by closed form or quadrature."""
    found = activation.respond(signal.mean, max(signal.variance, _TINY))
    return from_second(found.mean, found.second, signal.units)


def gate(signal: MeanVariance) -> MeanVariance:
    """GLU: one half times the sigmoid of the other."""
    half = replace(signal, units=None if signal.units is None else signal.units // 2)
    return multiply(half, activate(Activation("sigmoid"), half))


def pass_on(passage: Passage, signal: MeanVariance) -> MeanVariance:
    """(c·x + a) with dropout: x is 0 with probability p, else divided by 1 − p."""
    mean = signal.mean * passage.factor
    second = signal.second * passage.factor**2 * passage.thin
    variance = max(second - mean * mean, 0.0)
    added = max(passage.second - passage.mean**2, 0.0)
    return MeanVariance(mean + passage.mean, variance + added, signal.units)


def normalize(node: Node, signal: MeanVariance) -> MeanVariance | str:
    """Mean 0 and variance 1, then scale and shift; without centring, a second moment of 1."""
    module = node.module
    label = type(module).__name__ if module is not None else node.target
    if _UNCENTRED.search(label):
        return f"{node.label}: divides by a length, so its size depends on how many numbers it has"
    scale_second, scale_mean, shift = 1.0, 1.0, MeanVariance(0.0, 0.0)
    if module is not None:
        for name, held in describe_parameters(module).items():
            parameter = getattr(module, name)
            if held.role == "norm scale":
                scale_second, scale_mean = measure_tensor(parameter)
            elif held.role == "norm offset":
                scale_second, scale_mean = measure_tensor(1 + parameter.detach())
            elif held.role == "norm shift":
                shift = measure(parameter) or shift
    mean = 0.0
    if _MEAN_SQUARE.search(label) and signal.second > _TINY:
        mean = signal.mean / math.sqrt(signal.second) * scale_mean
    found = from_second(mean, scale_second, signal.units)
    return replace(add([found, shift]), units=signal.units)


def pool(
    node: Node,
    signal: MeanVariance,
    shapes: Shapes,
    activated: tuple[Activation, MeanVariance] | None,
) -> MeanVariance | str | None:
    """Average or maximum of k independent numbers; None if the node is no pooling.

    `activated` is the activation whose output is pooled, and what enters it: then the numbers are
    not normal, but their distribution is known.
    """
    if not is_pool(node):
        return None
    if _OTHER_POOLS.search(node.label):
        return f"{node.label}: no formula"
    count = _count_pooled(node, shapes)
    if count is None:
        return f"{node.label}: over how many numbers depends on the size of the input"
    if not is_max_pool(node):
        return replace(signal, variance=signal.variance / count)
    if activated is not None:
        activation, before = activated
        found = activation.find_largest(before.mean, max(before.variance, _TINY), count)
        return from_second(*found, signal.units)
    mean, variance = describe_maximum(count)
    return replace(
        signal,
        mean=signal.mean + math.sqrt(signal.variance) * mean,
        variance=signal.variance * variance,
    )


def _count_pooled(node: Node, shapes: Shapes) -> int | None:
    """How many numbers meet in one."""
    size = getattr(node.module, "kernel_size", None)
    if size is None and node.call is not None and "pool" in node.target:
        size = node.call.get_option(1, "kernel_size")
    digits = re.search(r"([123])d", type(node.module).__name__ if node.module else node.target)
    if size is not None and "adaptive" not in node.label.lower() and digits:
        sizes = [size] * int(digits[1]) if isinstance(size, int) else list(size)
        return math.prod(sizes * int(digits[1]) if len(sizes) == 1 else sizes)
    before = shapes.get(node.inputs[0]) if node.inputs else None
    after = shapes.get(node.index)
    if before is None or after is None or 0 in (*before, *after):
        return None
    return max(round(math.prod(before) / math.prod(after)), 1)


@lru_cache(maxsize=256)
def describe_maximum(count: int) -> tuple[float, float]:
    """Mean and variance of the largest of `count` standard-normal numbers, by quadrature.

    Its density is n · φ(x) · Φ(x)^(n−1); the midpoint sum over ±12 is exact to 1e-9.

    >>> round(describe_maximum(2)[0], 4)  # 1/√π
    0.5642
    """
    step = 0.005
    x = torch.arange(-12, 12, step, dtype=torch.float64, device="cpu") + step / 2
    log_density = -x.square() / 2 - math.log(math.tau) / 2 + math.log(count)
    log_density += (count - 1) * torch.special.log_ndtr(x)
    weights = log_density.exp() * step
    mean = float((weights * x).sum())
    return mean, float((weights * (x - mean).square()).sum())


def apply_kept(node: Node, signal: MeanVariance | None) -> MeanVariance | str:
    """A layer whose weights are not this method's: their own moments decide."""
    module = node.module
    if isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward:
        found = measure(module.weight)
        return (
            f"{node.label}: not finite"
            if found is None
            else replace(found, units=module.embedding_dim)
        )
    held = {} if module is None else describe_parameters(module, "effective")
    weight = held.get("weight")
    if node.used_by is not None or module is None or weight is None or not computes_plainly(module):
        return f"{node.label}: computes more than one linear map"
    if signal is None or weight.layout.fans is None:
        return f"{node.label}: what enters is not known"
    second, mean = measure_tensor(module.weight)  # type: ignore[arg-type]
    fan = weight.layout.fans.fan_in
    bias = getattr(module, "bias", None)
    added = measure(bias) if isinstance(bias, Tensor) else None
    found = from_second(
        fan * mean * signal.mean,
        fan * (second - mean**2) * signal.second
        + (fan * mean * signal.mean) ** 2
        + fan * mean**2 * signal.variance,
        count_units(weight.layout),
    )
    return replace(add([found, added or MeanVariance(0.0, 0.0)]), units=found.units)


def count_units(layout: object) -> int | None:
    """The outputs of a layout; None if they are not known."""
    shape = getattr(layout, "shape", ())
    if len(shape) < 2 or getattr(layout, "inputs", 1) > 1:
        return shape[0] if shape else None
    groups, outputs, _ = layout.matrices_shape  # type: ignore[attr-defined]
    return int(groups * outputs)


_PLAIN = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def computes_plainly(module: nn.Module) -> bool:
    """Whether a layer's forward pass is that of torch's own."""
    if type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers"):
        return True
    return any(isinstance(module, one) and type(module).forward is one.forward for one in _PLAIN)
