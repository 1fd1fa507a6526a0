"""A walk along a model's graph that follows the mean and the variance of its signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from fanin.errors import FaninError
from fanin.gains.normal_response import Activation
from fanin.initializers import signal_rules as rules
from fanin.initializers.signal_rules import MeanVariance
from fanin.structure import ElementwiseExpression, Graph, Node
from fanin.structure.elementwise import find_elementwise
from fanin.structure.function_kinds import SUMS
from fanin.structure.passages import Passage, read_passage
from fanin.structure.tensor_moments import Shapes


class LayerRule(Protocol):
    """What a method does with a weighted layer."""

    def __call__(self, node: Node, sources: list[MeanVariance | None]) -> MeanVariance | str | None:
        """What the layer puts out, or why that is not known; None if the layer is not its own."""


@dataclass
class SignalWalk:
    """Follows signals from the input on; layers are left to `layer`, the unknown to `measure`."""

    graph: Graph
    model: nn.Module
    shapes: Shapes
    entering: Callable[[Node], MeanVariance]
    """What an input holds."""
    layer: LayerRule
    measure: Callable[[Node], MeanVariance | None]
    """What a node holds on the batch; None without one."""
    wanted: frozenset[int]
    """The nodes that matter: what no layer of the method follows is not looked at."""
    found: dict[int, MeanVariance] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)
    """Of nodes whose signal could not be found: why."""
    _measured: set[int] = field(default_factory=set)
    _expressions: dict[int, tuple[int, Activation]] = field(default_factory=dict)
    """By the node that ends an activation that is written out: where it begins, and itself."""
    _inside: set[int] = field(default_factory=set)
    _activated: dict[int, tuple[Activation, MeanVariance]] = field(default_factory=dict)
    """Of the nodes that end an activation: the activation, and what enters it."""

    def walk(self) -> None:
        """Every node that matters, in order."""
        for node in self.graph.nodes:
            if node.index not in self.wanted:
                continue
            result = self._describe(node)
            if isinstance(result, str):
                measured = self.measure(node)
                if measured is not None:
                    self._measured.add(node.index)
                elif node.index not in self._inside:
                    self.unknown[node.index] = result
                result = measured or MeanVariance(0.0, 1.0)
            self.found[node.index] = result
            self._find_expressions(node.index)
        self._forget_what_was_measured_behind()

    def _forget_what_was_measured_behind(self) -> None:
        """A step that has no tensor, such as the weights inside a function of attention, need not
        be known where all that use it were measured.
        """
        for index in list(self.unknown):
            users = self.wanted.intersection(self.graph.users[index])
            if users and users <= self._measured:
                del self.unknown[index]

    def _describe(self, node: Node) -> MeanVariance | str:
        if node.kind == "input":
            return self.entering(node)
        sources = [self.found.get(source) for source in node.inputs]
        if node.kind == "layer":
            result = self.layer(node, sources)
            return (
                rules.apply_kept(node, sources[0] if sources else None)
                if result is None
                else (result)
            )
        if node.index in self._expressions:
            start, activation = self._expressions[node.index]
            return self._activate(node, activation, self.found[start])
        if node.index in self._inside:
            return "inside an activation"
        known = [one for one in sources if one is not None]
        if not known or len(known) < len(sources):
            return f"{node.label}: what enters is not known"
        return self._describe_step(node, known)

    def _describe_step(self, node: Node, sources: list[MeanVariance]) -> MeanVariance | str:
        first = sources[0]
        match node.kind:
            case "activation":
                return self._describe_activation(node, sources)
            case "normalization":
                return rules.normalize(node, first)
            case "transparent":
                return self._describe_passage(node, sources)
            case "add" if len(sources) > 1 and not (node.call and "alpha" in node.call.kwargs):
                subtract = node.target in ("sub", "subtract", "rsub")
                return rules.add(sources, subtract=subtract)
            case "add" if len(sources) == 1:
                return MeanVariance(2 * first.mean, 4 * first.variance, first.units)
            case "product" if "glu" in node.label.lower() and len(sources) == 1:
                return rules.gate(first)
            case "product" if node.target in ("mul", "multiply") and len(sources) == 2:
                return rules.multiply(*sources)
            case _:
                return f"{node.label}: no formula"

    def _describe_activation(self, node: Node, sources: list[MeanVariance]) -> MeanVariance | str:
        if len(sources) != 1:
            return f"{node.label}: an activation of several tensors"
        what: object = node.module or node.spec
        if what is None and node.function is not None:
            what = ElementwiseExpression(node.inputs[0], [node])
        if what is None:
            return f"{node.label}: cannot be evaluated by itself"
        try:
            return self._activate(node, Activation(what), sources[0])
        except FaninError as error:
            return f"{node.label}: {error}"

    def _activate(
        self, node: Node, activation: Activation, signal: MeanVariance
    ) -> MeanVariance | str:
        self._activated[node.index] = activation, signal
        try:
            return rules.activate(activation, signal)
        except FaninError as error:
            return f"{activation.name}: {error}"

    def _describe_passage(self, node: Node, sources: list[MeanVariance]) -> MeanVariance | str:
        if len(sources) > 1 and node.target in SUMS:
            return rules.add(sources, subtract=node.target != "add")
        if len(sources) == 2 and node.target in ("mul", "multiply"):
            return rules.multiply(*sources)
        if len(sources) == 1:
            activated = self._activated.get(node.inputs[0])
            pooled = rules.pool(node, sources[0], self.shapes, activated)
            if pooled is not None:
                return pooled
        passage = read_passage(node, self.shapes, self.model)
        if isinstance(passage, Passage) and not passage.beside:
            if passage.keeps_numbers and node.inputs[0] in self._activated:
                self._activated[node.index] = self._activated[node.inputs[0]]
            return rules.pass_on(passage, sources[0])
        if isinstance(passage, Passage):
            return self._join(node)
        return passage if passage.startswith(node.label) else f"{node.label}: {passage}"

    def _join(self, node: Node) -> MeanVariance | str:
        """Of all that is joined, a tensor that is given twice counts twice."""
        joined = node.inputs if node.call is None else node.call.slots
        parts = [self.found[source] for source in joined]
        sizes: list[int | None] = [_count(self.shapes.get(source)) for source in joined]
        if None in sizes:
            sizes = [one.units for one in parts]
        known = [size for size in sizes if size]
        if len(known) < len(parts):
            return f"{node.label}: the sizes of what it joins are not known"
        return rules.join(parts, known)

    def _find_expressions(self, index: int) -> None:
        """Activations that are written out and begin at this node."""
        for user in self.graph.users[index]:
            node = self.graph.nodes[user]
            if node.function is None or user in self._inside:
                continue
            expression = find_elementwise(self.graph, index, user)
            if expression is None:
                continue
            try:
                activation = Activation(expression)
            except FaninError:
                continue
            self._expressions[max(expression.indices)] = index, activation
            self._inside |= expression.indices


def _count(shape: tuple[int, ...] | None) -> int | None:
    if shape is None:
        return None
    total = 1
    for size in shape:
        total *= size
    return total


def read_shapes(values: Mapping[int, Tensor]) -> dict[int, tuple[int, ...]]:
    """The shape of each node's tensor."""
    return {index: tuple(value.shape) for index, value in values.items()}


def list_before(graph: Graph, layers: frozenset[int]) -> frozenset[int]:
    """The nodes that any of the layers descends from, and the layers themselves."""
    found = set(layers)
    for node in reversed(graph.nodes):
        if node.index in found:
            found |= set(node.inputs)
    return frozenset(found)
