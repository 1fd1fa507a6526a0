"""Where the output of a layer goes: whether a normalization undoes its size, and what a residual
branch is multiplied by before it is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from fanin.structure import Graph, Node
from fanin.structure.signal_graph import is_lookup

_HOMOGENEOUS = ("relu", "leaky_relu", "leakyrelu", "prelu", "rrelu", "identity")
"""Activations f with f(c·x) = c·f(x) for c > 0: a normalization behind them still undoes a size."""
_SCALES = ("mul", "multiply", "div", "divide", "truediv", "true_divide")


def is_linear_layer(node: Node) -> bool:
    """Whether a layer's output is linear in its input: no lookup, attention or recurrence."""
    nonlinear = isinstance(node.module, nn.MultiheadAttention | nn.RNNBase | nn.RNNCellBase)
    return node.kind == "layer" and not is_lookup(node) and not nonlinear


def is_normalized(graph: Graph, nodes: Iterable[int]) -> bool:
    """Whether every way on from these nodes meets a normalization before anything that depends on
    the size of the signal; linear layers and ReLUs may lie between.
    """
    waiting, seen = list(nodes), set()
    if not waiting:
        return False
    while waiting:
        index = waiting.pop()
        users = graph.users[index]
        if not users:
            return False
        for user in users:
            node = graph.nodes[user]
            if node.kind == "normalization" or user in seen:
                continue
            if not _keeps_proportion(node):
                return False
            seen.add(user)
            waiting.append(user)
    return True


def _keeps_proportion(node: Node) -> bool:
    if node.kind == "activation":
        return node.label.partition("(")[0].lower() in _HOMOGENEOUS
    return node.kind == "transparent" or is_linear_layer(node)


@dataclass(frozen=True)
class BranchEnd:
    """The way from a branch's last layer to the sum."""

    sum: int
    """The node of the sum."""
    end: int
    """The node that is added."""
    factor: float | None
    """What the way multiplies by; None if that is a tensor."""
    normalized: bool
    """Whether a normalization lies on it."""


def find_branch_end(graph: Graph, start: int) -> BranchEnd | None:
    """Follow the one way from a writer to the first sum; None if it ends elsewhere."""
    factor: float | None = 1.0
    normalized, seen = False, {start}
    waiting = [start]
    while waiting:
        index = waiting.pop(0)
        for user in graph.users[index]:
            node = graph.nodes[user]
            if node.kind == "add":
                return BranchEnd(user, index, factor, normalized)
            if user in seen or node.kind not in (
                "transparent",
                "normalization",
                "product",
                "activation",
            ):
                continue
            seen.add(user)
            normalized |= node.kind == "normalization"
            factor = multiply_constant(factor, node)
            waiting.append(user)
    return None


def multiply_constant(factor: float | None, node: Node) -> float | None:
    """A factor, times the constant that a step multiplies by; None if that is a tensor."""
    if node.kind == "product" or factor is None:
        return None
    if node.target not in _SCALES or node.call is None:
        return factor
    constants = [
        float(one)
        for one in (*node.call.args, *node.call.kwargs.values())
        if isinstance(one, int | float) or (isinstance(one, Tensor) and one.numel() == 1)
    ]
    if len(constants) != 1:
        return None
    return factor * (constants[0] if node.target in _SCALES[:2] else 1 / constants[0])
