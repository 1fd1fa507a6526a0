"""Which layers share the channels of a signal: they must grow together."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd

from fanin.errors import FitError
from fanin.fans import is_transformers_conv1d
from fanin.structure import Graph, Node
from fanin.structure.function_kinds import AVERAGES


class ChannelSpaces:
    """The graph's signals, sorted by which have the same channels.

    What a layer puts out begins a space. Activations, normalizations and moves keep it, sums and
    products join those of their operands. What fanin cannot follow (attention's products, softmax,
    unknown functions) makes a space rigid, as do the model's input and output.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parents = list(range(len(graph.nodes)))
        self._rigid: dict[int, str] = {}
        self._first: dict[nn.Module, Node] = {}
        for node in graph.nodes:
            self._place(node)

    def get_output(self, path: str) -> int:
        """The space of what a layer puts out."""
        return self._find(self._get_node(path).index)

    def find_obstacle(self, space: int) -> str | None:
        """Why a space cannot grow; None if it can."""
        return next((why for node, why in self._rigid.items() if self._find(node) == space), None)

    def list_producers(self, space: int) -> Iterator[Node]:
        """The layers whose outputs are in a space, each once."""
        yield from (
            node
            for node in self._list_layers()
            if self._find(node.index) == space and not is_depthwise(node.module)
        )

    def list_consumers(self, space: int) -> Iterator[Node]:
        """The layers whose inputs are in a space, each once."""
        yield from (
            node
            for node in self._list_layers()
            if not is_depthwise(node.module)
            and any(self._find(source) == space for source in node.inputs)
        )

    def list_passed(self, space: int) -> Iterator[Node]:
        """The modules that a signal goes through within a space, each once."""
        seen: set[int] = set()
        for node in self._graph.nodes:
            if node.module is None or self._find(node.index) != space or id(node.module) in seen:
                continue
            if node.kind not in ("layer", "input", "output") or is_depthwise(node.module):
                seen.add(id(node.module))
                yield node

    def _list_layers(self) -> Iterator[Node]:
        yield from (
            node
            for node in self._graph.nodes
            if node.kind == "layer" and self._first.get(node.module, node) is node  # type: ignore[arg-type]
        )

    def _get_node(self, path: str) -> Node:
        for node in self._graph.nodes:
            if node.kind == "layer" and node.target == path:
                return node
        raise FitError(f"The forward pass on the batch does not reach a layer {path!r}.")

    def _place(self, node: Node) -> None:
        index = node.index
        if node.kind == "layer":
            self._place_layer(node)
            return
        if node.kind == "input":
            self._rigid[index] = "it is the model's input"
            return
        breaks = node.kind in ("softmax", "other") or node.target in AVERAGES
        halves = node.target == "glu" or isinstance(node.module, nn.GLU)
        if breaks or halves:
            for one in (index, *node.inputs):
                self._rigid[one] = f"{node.label} mixes its channels"
            return
        for source in node.inputs:
            self._join(index, source)
        if node.kind == "output":
            self._rigid[index] = "it is the model's output"

    def _place_layer(self, node: Node) -> None:
        index, module = node.index, node.module
        if module is None or node.used_by is not None or find_axes(module) is None:
            label = "a raw parameter" if module is None or node.used_by else type(module).__name__
            for one in (index, *node.inputs):
                self._rigid[one] = f"{node.target} is {label}, which cannot grow"
            return
        if is_depthwise(module):
            for source in node.inputs:
                self._join(index, source)
        first = self._first.setdefault(module, node)
        if first is not node:  # called again: both calls have the same channels
            self._join(index, first.index)
            for source, before in zip(node.inputs, first.inputs, strict=False):
                self._join(source, before)

    def _find(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def _join(self, one: int, other: int) -> None:
        self._parents[self._find(one)] = self._find(other)


def find_axes(module: nn.Module) -> tuple[int, int | None] | None:
    """The axes of a layer's weight that count its outputs and inputs; None if it cannot grow."""
    if type(module._parameters.get("weight")) is not nn.Parameter:
        return None
    if isinstance(module, nn.Embedding):
        return 1, None
    if is_transformers_conv1d(module):
        return 1, 0
    if isinstance(module, _ConvNd):
        if module.groups > 1 and not is_depthwise(module):
            return None
        return (1, 0) if module.transposed else (0, 1)
    return (0, 1) if isinstance(module, nn.Linear) else None


def count_outputs(module: nn.Module) -> int:
    """The number of channels that a layer puts out."""
    axes = find_axes(module)
    assert axes is not None
    return int(module.get_parameter("weight").shape[axes[0]])


def count_inputs(module: nn.Module) -> int | None:
    """The number of channels that a layer reads; None if it looks rows up."""
    axes = find_axes(module)
    assert axes is not None
    return None if axes[1] is None else int(module.get_parameter("weight").shape[axes[1]])


def is_depthwise(module: object) -> bool:
    """Whether a convolution maps each channel by itself."""
    return (
        isinstance(module, _ConvNd)
        and module.groups > 1
        and module.groups == module.in_channels == module.out_channels
    )
