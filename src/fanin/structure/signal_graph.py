"""Which layers a signal comes from and goes to: walks along a graph that pass through everything
that is no layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import cached_property

from fanin.structure import function_kinds
from fanin.structure.graph import Graph, Node
from fanin.structure.layer_names import LayerNames

_SELECTIONS = frozenset(["getitem", "select", "narrow", "unbind", "index_select"])
"""Functions that take one part of a tensor."""
_LIKE = frozenset(("type_as", "to", "view_as", "reshape_as", "expand_as"))
"""Functions that take only the type or shape of a second tensor."""


class SignalGraph:
    """A graph with what the search for roles asks of it.

    Sets of nodes are integers whose bits are the nodes' indices: a graph of thousands of nodes has
    millions of pairs. Adapters (LoRA's A and B) are no layers here: their base layer stands for
    them.
    """

    def __init__(self, graph: Graph, names: LayerNames) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.inputs = tuple(_list_inputs(node) for node in graph.nodes)
        self.users = _invert(self.inputs)
        self._names = names

    def get_name(self, index: int) -> str:
        """The name of a layer's node."""
        return self._names.get_name(self.nodes[index])

    def list_names(self, indices: Iterable[int]) -> tuple[str, ...]:
        """The names of layers' nodes, each once, in order."""
        return tuple(dict.fromkeys(map(self.get_name, sorted(indices))))

    def list_norms(self, indices: Iterable[int]) -> tuple[str, ...]:
        """The names of the normalizations among some nodes, in order: of a function its first
        parameter.
        """
        found: list[str] = []
        for node in (self.nodes[index] for index in sorted(indices)):
            if node.kind != "normalization":
                continue
            if node.module is not None:
                found.append(self._names.get_bare_path(node.target))
            elif node.call is not None:
                found += self.get_bare_names((*node.call.parameters, *node.call.vectors)[:1])
        return tuple(dict.fromkeys(found))

    def get_bare_names(self, parameters: Iterable[str]) -> tuple[str, ...]:
        """Names of parameters in the bare model, each once."""
        return tuple(dict.fromkeys(map(self._names.get_bare_path, parameters)))

    @cached_property
    def layers(self) -> frozenset[int]:
        """The nodes of all layers that are no adapters."""
        return frozenset(
            node.index for node in self.nodes if node.kind == "layer" and not self.is_adapter(node)
        )

    def is_adapter(self, node: Node) -> bool:
        """Whether a layer is added to another one, as LoRA's A and B are."""
        return node.kind == "layer" and self._names.is_adapter(node.target)

    @cached_property
    def computed(self) -> frozenset[int]:
        """The nodes that a layer precedes, and layers."""
        found: set[int] = set()
        for node in self.nodes:
            if node.kind == "layer" or not found.isdisjoint(self.inputs[node.index]):
                found.add(node.index)
        return frozenset(found)

    @cached_property
    def ancestors(self) -> tuple[int, ...]:
        """Of each node, the set of nodes that its signal descends from, and itself. What is looked
        up in a table does not descend from the indices.
        """
        found: list[int] = []
        for node in self.nodes:
            before = 0
            if not is_lookup(node):
                for source in self.inputs[node.index]:
                    before |= found[source]
            found.append(before | 1 << node.index)
        return tuple(found)

    @cached_property
    def descendants(self) -> tuple[int, ...]:
        """Of each node, the set of nodes that descend from it, and itself."""
        found = [1 << node.index for node in self.nodes]
        for node in reversed(self.nodes):
            for user in self.users[node.index]:
                if not is_lookup(self.nodes[user]):
                    found[node.index] |= found[user]
        return tuple(found)

    def collect_between(self, start: int, end: int) -> frozenset[int]:
        """The nodes on all ways from `start` to `end`, without `start`; empty if there is none."""
        if not self.ancestors[end] >> start & 1:
            return frozenset()
        return frozenset(_list_bits(self.descendants[start] & self.ancestors[end])) - {start}

    def is_first(self, index: int) -> bool:
        """Whether no other layer precedes a layer."""
        return not any(self.ancestors[index] >> layer & 1 for layer in self.layers - {index})

    def is_last(self, index: int) -> bool:
        """Whether no other layer follows a layer."""
        return not any(self.descendants[index] >> layer & 1 for layer in self.layers - {index})

    def list_signals(self, index: int) -> tuple[int, ...]:
        """The inputs of a node that carry its signal: of several only those that were computed,
        not masks and tables.
        """
        inputs = self.inputs[index]
        if len(inputs) <= 1:
            return inputs
        return tuple(source for source in inputs if source in self.computed)

    def is_part(self, index: int) -> bool:
        """Whether a node is one of several parts that a tensor was split into: different parts
        are different signals.
        """
        node = self.nodes[index]
        return node.target in _SELECTIONS and any(
            sum(self.nodes[user].target in _SELECTIONS for user in self.users[source]) > 1
            for source in self.inputs[index]
        )

    def skip_moves(self, index: int) -> int:
        """The node that `index` is a part, view or multiple by a constant of."""
        while (
            self.nodes[index].kind == "transparent"
            and not self.is_mixture(index)
            and len(sources := self.list_signals(index)) == 1
        ):
            index = sources[0]
        return index

    def skip_views(self, index: int) -> int:
        """As `skip_moves`, but a part is a signal of its own."""
        while (
            self.nodes[index].kind == "transparent"
            and not self.is_mixture(index)
            and not self.is_part(index)
            and len(sources := self.list_signals(index)) == 1
        ):
            index = sources[0]
        return index

    def is_mixture(self, index: int) -> bool:
        """Whether a node averages values by the weights of attention."""
        return self.nodes[index].target in function_kinds.AVERAGES

    def list_averaged(self, index: int) -> tuple[int, ...]:
        """The signals of a node without the softmax that they are averaged by."""
        sources = self.list_signals(index)
        if len(sources) < 2 or not self.is_mixture(index):
            return sources
        return tuple(source for source in sources if not self.is_from_softmax(source))

    def is_from_softmax(self, index: int) -> bool:
        """Whether a tensor is a softmax; dropout, masks and views may lie between."""
        return self.nodes[self.skip_moves(index)].kind == "softmax"

    def find_sources(self, index: int, stops: Set[int] = frozenset()) -> frozenset[int]:
        """The layers nearest before a node, or the node itself if it is one; the walk ends at
        `stops`.
        """
        found, seen, waiting = set(), {index}, [index]
        while waiting:
            current = waiting.pop()
            if current in self.layers:
                found.add(current)
            elif current not in stops and not self.is_adapter(self.nodes[current]):
                following = set(self.list_averaged(current)) - seen
                seen |= following
                waiting += following
        return frozenset(found)

    def find_readers(self, index: int, within: Set[int]) -> frozenset[int]:
        """The layers nearest after a node, among the nodes `within`."""
        reach = self.collect_after(index, within) | {index}
        return frozenset(
            user for one in reach for user in self.users[one] if user in within & self.layers
        )

    def collect_after(self, index: int, within: Set[int]) -> frozenset[int]:
        """The nodes `within` that follow a node with no layer between, without layers."""
        return self._collect(index, within, self.users.__getitem__)

    def collect_before(self, index: int, within: Set[int]) -> frozenset[int]:
        """The nodes `within` that a node follows with no layer between, itself included, without
        layers.
        """
        if index in self.layers or index not in within:
            return frozenset()
        return self._collect(index, within, self.list_averaged) | {index}

    def _collect(
        self, index: int, within: Set[int], step: Callable[[int], Iterable[int]]
    ) -> frozenset[int]:
        found: set[int] = set()
        waiting = [index]
        while waiting:
            for one in step(waiting.pop()):
                if one in within and one not in found and self.nodes[one].kind != "layer":
                    found.add(one)
                    waiting.append(one)
        return frozenset(found)


def _list_inputs(node: Node) -> tuple[int, ...]:
    return node.inputs[:1] if node.target in _LIKE and node.module is None else node.inputs


def _invert(inputs: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    users: list[list[int]] = [[] for _ in inputs]
    for index, sources in enumerate(inputs):
        for source in sources:
            users[source].append(index)
    return tuple(map(tuple, users))


def is_lookup(node: Node) -> bool:
    """Whether a layer's node looks rows up in a table, by indices."""
    if node.kind != "layer":
        return False
    if node.used_by is not None:
        return node.used_by in function_kinds.LOOKUPS or node.used_by in _SELECTIONS
    return any(base.__name__ in ("Embedding", "EmbeddingBag") for base in type(node.module).__mro__)


def _list_bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
