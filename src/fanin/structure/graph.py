"""The graph of a model's computation: one node per layer, activation, normalization, sum and
product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from torch import Tensor, nn

from fanin.structure.call_arguments import CallArguments

NodeKind = Literal[
    "input",
    "layer",
    "activation",
    "normalization",
    "transparent",
    "add",
    "product",
    "softmax",
    "other",
    "output",
]
"""layer: has a weight, linear in its input. transparent: moves, selects, averages or scales numbers
by a constant. add: sum of two computed tensors. product: two computed tensors multiplied. other:
what fanin does not know."""

_BREAKS = ("normalization", "add")
"""The kinds of nodes that end a plain path."""


@dataclass(frozen=True)
class Node:
    """One step of the computation; its inputs have smaller indices."""

    index: int
    kind: NodeKind
    target: str
    """The qualified path of a module, or the name of a function without its underscores."""
    module: nn.Module | None
    inputs: tuple[int, ...]
    """The nodes it takes tensors from, each once."""
    spec: str | None = None
    """An activation that was called as a function, as a spec such as
    ``leaky_relu(negative_slope=0.2)``.
    """
    function: Callable[..., Tensor] | None = field(default=None, repr=False, compare=False)
    """Of an elementwise step: its value from the values of `inputs`. None if it is none, or
    needs other tensors.
    """
    parameters: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Of a layer that is a function of weights: the qualified names of these weights."""
    used_by: str | None = field(default=None, repr=False, compare=False)
    """The name of that function; None if the layer is a module that was called."""
    call: CallArguments | None = field(default=None, repr=False, compare=False)
    """The arguments of a function."""

    @property
    def label(self) -> str:
        """A short name for people."""
        return self.spec or (type(self.module).__name__ if self.module is not None else self.target)


@dataclass(frozen=True)
class Graph:
    """All steps in the order of their computation, and the layers of the model whether they were
    reached or not.
    """

    nodes: tuple[Node, ...]
    layers: tuple[str, ...]
    """Qualified paths of all modules with a weight, in the model's order."""

    @cached_property
    def plain_depths(self) -> dict[int, int]:
        """Of each layer's node, the number of layers on the longest path through it that meets no
        normalization and no sum: there the weights alone must keep the size of signals.
        """
        before, after = [0] * len(self.nodes), [0] * len(self.nodes)
        for node in self.nodes:
            if node.kind not in _BREAKS:
                before[node.index] = (node.kind == "layer") + max(
                    (before[source] for source in node.inputs), default=0
                )
        for node in reversed(self.nodes):
            if node.kind not in _BREAKS:
                after[node.index] = (node.kind == "layer") + max(
                    (after[user] for user in self.users[node.index]), default=0
                )
        return {
            node.index: before[node.index] + after[node.index] - 1
            for node in self.nodes
            if node.kind == "layer"
        }

    @cached_property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """Of each node, the nodes that take a tensor from it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for source in node.inputs:
                found[source].append(node.index)
        return tuple(map(tuple, found))
