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
    learned: bool = False
    """Whether parameters multiply it in any way."""

    def combine(self, other: Scaling) -> Scaling:
        """Both, one after the other."""
        known = self.factor is not None and other.factor is not None
        return Scaling(
            (self.factor or 0.0) * (other.factor or 0.0) if known else None,
            tuple(dict.fromkeys((*self.scales, *other.scales))),
            tuple(dict.fromkeys((*self.shifts, *other.shifts))),
            self.learned or other.learned,
        )


def read_scaling(view: SignalGraph, end: int, start: int, values: Mapping[int, Tensor]) -> Scaling:
    """What multiplies a signal on its way to `end`, from the last layer, normalization, sum or
    product before it, or from `start`.

    Where the graph does not show a factor, the signal's values at both ends are compared, if a pass
    was observed and no parameter lies between.
    """
    found, begin = _walk(view, end, start)
    if found.factor is None and not found.learned and not found.shifts and begin is not None:
        return replace(found, factor=_measure_factor(values.get(begin), values.get(end)))
    return found


def _walk(view: SignalGraph, end: int, start: int) -> tuple[Scaling, int | None]:
    """What the graph shows, and the node where the way begins; None behind a product."""
    found, index = Scaling(), end
    while index != start:
        node = view.nodes[index]
        if node.kind in _UNKNOWN:
            return found.combine(Scaling(None)), None
        sources = view.list_signals(index)
        if node.kind != "transparent" or view.is_mixture(index) or len(sources) != 1:
            break
        found = found.combine(_read_step(node))
        (index,) = sources
    return found, index


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
        return Scaling(1.0 if kept else None, scales=names if kept else (), learned=True)
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
    """The scalings of the shortcut and of the branch of a residual sum."""
    shortcut = read_scaling(view, one.shortcut, one.fork, values)
    branch = read_scaling(view, one.end, one.fork, values)
    first, second = _read_alpha(view.nodes[one.index], one)
    return shortcut.combine(Scaling(first)), branch.combine(Scaling(second))


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


def _measure_factor(start: Tensor | None, end: Tensor | None) -> float | None:
    """The constant that one tensor is the multiple of another by; None if it is none, or if the
    second was written over the first.
    """
    if start is None or end is None or start.numel() != end.numel() or start.is_meta:
        return None
    if start.data_ptr() == end.data_ptr() or not end.is_floating_point():
        return None
    before, after = (one.detach().to("cpu", torch.float64).flatten() for one in (start, end))
    size = before.dot(before).item()
    if not math.isfinite(size) or size == 0:
        return None
    factor = before.dot(after).item() / size
    left = (after - factor * before).norm().item()
    exact = left <= _ROUNDING * torch.finfo(end.dtype).eps * after.norm().item()
    return factor if exact and math.isfinite(factor) else None


def list_inner_shifts(view: SignalGraph, inside: frozenset[int]) -> Iterator[str]:
    """The parameters of at most one axis that are added to a signal inside a branch, in order."""
    for index in sorted(inside):
        node = view.nodes[index]
        if node.target in _SUMS and node.call is not None and node.call.unchanged:
            yield from node.call.vectors
