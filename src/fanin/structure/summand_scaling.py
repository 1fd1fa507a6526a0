"""What multiplies and shifts the two summands of a residual sum: constants, and parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fanin.structure import function_kinds
from fanin.structure.graph import Node
from fanin.structure.residual_sums import ResidualSum
from fanin.structure.signal_graph import SignalGraph

_PRODUCTS = ("mul", "multiply")
_SUMS = ("add", "sub", "subtract", "rsub")
_UNKNOWN = ("product", "other")
"""The kinds of nodes that may multiply by anything."""
_ROUNDING = 16
"""How many roundings of its dtype a sum may be off and still be the sum of two multiples."""


@dataclass(frozen=True)
class Scaling:
    """What a summand is multiplied by and shifted by."""

    factor: float | None = 1.0
    """The product of all constants; None if something else multiplies it too."""
    scales: tuple[str, ...] = ()
    """The parameters that multiply it, as they are."""
    shifts: tuple[str, ...] = ()
    """The parameters that are added to it."""

    def combine(self, other: Scaling) -> Scaling:
        """Both, one after the other."""
        known = self.factor is not None and other.factor is not None
        return Scaling(
            (self.factor or 0.0) * (other.factor or 0.0) if known else None,
            tuple(dict.fromkeys((*self.scales, *other.scales))),
            tuple(dict.fromkeys((*self.shifts, *other.shifts))),
        )


def read_scaling(view: SignalGraph, end: int, start: int) -> Scaling:
    """What multiplies a signal on its way to `end`, from the last layer, normalization, sum or
    product before it, or from `start`.
    """
    found, index = Scaling(), end
    while index != start:
        node = view.nodes[index]
        if node.kind in _UNKNOWN:
            return found.combine(Scaling(None))
        sources = view.list_signals(index)
        if node.kind != "transparent" or view.is_mixture(index) or len(sources) != 1:
            break
        found = found.combine(_read_step(node))
        (index,) = sources
    return found


def _read_step(node: Node) -> Scaling:
    """What one step does that takes one signal."""
    call, target = node.call, node.target
    if target in ("neg", "negative"):
        return Scaling(-1.0)
    if call is None or target not in (*_PRODUCTS, *_SUMS, *function_kinds.DIVISIONS):
        return Scaling()
    names = (*call.parameters, *call.vectors)
    if target in _SUMS:
        sign = -1.0 if _is_subtracted(node) else 1.0
        return Scaling(sign, shifts=names if call.unchanged else ())
    if names:
        kept = call.unchanged and target in _PRODUCTS
        return Scaling(1.0 if kept else None, scales=names if kept else ())
    constants = call.list_constants()
    if len(constants) != 1 or constants[0] is None or not math.isfinite(constants[0]):
        return Scaling(None)
    if target in _PRODUCTS:
        return Scaling(constants[0])
    return Scaling(1 / constants[0] if constants[0] else None)


def _is_subtracted(node: Node) -> bool:
    """Whether the one signal of a difference is what is subtracted."""
    if node.call is None:
        return False
    place = (0, "input") if node.target == "rsub" else (1, "other")
    return node.target != "add" and node.call.get_node(*place) is not None


def read_sum_scaling(
    view: SignalGraph, one: ResidualSum, values: Mapping[int, Tensor]
) -> tuple[Scaling, Scaling]:
    """The scalings of the shortcut and of the branch of a residual sum.

    Where the graph does not show a factor, the sum is regressed on its two summands, if a pass was
    observed and nothing but constants multiplies them.
    """
    shortcut = read_scaling(view, one.shortcut, one.fork)
    branch = read_scaling(view, one.end, one.fork)
    first, second = _read_alpha(view.nodes[one.index], one)
    shortcut, branch = shortcut.combine(Scaling(first)), branch.combine(Scaling(second))
    if shortcut.factor is None and not shortcut.scales and not one.projection:
        measured = _measure_factor(values.get(one.fork), values.get(one.shortcut), first)
        shortcut = replace(shortcut, factor=measured)
    return shortcut, branch


def _read_alpha(node: Node, one: ResidualSum) -> tuple[float, float]:
    """The factors of the sum itself: ``torch.add(x, f, alpha=0.5)``, or a difference."""
    if node.call is None:
        return 1.0, 1.0
    alpha = node.call.kwargs.get("alpha", 1)
    factor = float(alpha) if isinstance(alpha, (int, float)) else 1.0
    if node.target in ("sub", "subtract", "rsub"):
        factor = -factor
    scaled = node.call.get_node(*((0, "input") if node.target == "rsub" else (1, "other")))
    return (factor, 1.0) if scaled == one.shortcut else (1.0, factor)


def _measure_factor(start: Tensor | None, end: Tensor | None, sign: float) -> float | None:
    """The constant that one tensor is the multiple of another by; None if it is none."""
    if start is None or end is None or start.shape != end.shape or start.is_meta:
        return None
    before, after = (one.detach().to("cpu", torch.float64).flatten() for one in (start, end))
    size = before.dot(before).item()
    if not math.isfinite(size) or size == 0:
        return None
    factor = before.dot(after).item() / size
    left = (after - factor * before).norm().item()
    precision = torch.finfo(end.dtype).eps if end.is_floating_point() else 0.0
    exact = left <= _ROUNDING * precision * after.norm().item()
    return sign * factor if exact and math.isfinite(factor) else None


def list_inner_shifts(view: SignalGraph, inside: frozenset[int]) -> Iterator[str]:
    """The parameters of at most one axis that are added to a signal inside a branch, in order."""
    for index in sorted(inside):
        node = view.nodes[index]
        if node.target in _SUMS and node.call is not None and node.call.unchanged:
            yield from node.call.vectors
