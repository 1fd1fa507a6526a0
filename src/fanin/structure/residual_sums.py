"""Which sums of a model add a residual branch to what it was computed from."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from fanin.structure import function_kinds
from fanin.structure.graph import Node
from fanin.structure.signal_graph import SignalGraph, is_lookup

_CARRYING = ("transparent", "normalization", "activation")
"""What may lie on the stream between two sums."""
_CURVED = ("activation", "softmax", "product", "normalization")
"""What makes a branch more than a linear map; many normalizations have an activation in them."""
_MIXING = ("norm", "pool", "fft")
"""What a branch without layers has, by parts of the steps' names. Sums of views and multiples, as
in rotary embeddings, have none."""
_LONGEST_PROJECTION = 2
"""The most layers of a shortcut that is a projection: a downsampling has one, or two."""


@dataclass(frozen=True)
class ResidualSum:
    """One sum of a shortcut and a branch."""

    index: int
    shortcut: int
    """The summand that the stream comes through."""
    end: int
    """The summand that the branch computed."""
    fork: int
    """The node that the branch starts from, on the stream."""
    inside: frozenset[int]
    """The branch's nodes, with `end` and without `fork`."""
    projection: tuple[int, ...] = ()
    """The layers of the shortcut, if it is no identity."""


def find_residual_sums(view: SignalGraph, excluded: Set[int]) -> dict[int, ResidualSum]:
    """The residual sums of a model by the index of their node, in order.

    A sum is one if a summand was computed by layers from the other, or from an earlier point of
    the stream that the other comes from. The other may also be a linear projection of that point by
    fewer layers (ResNet's downsampling), if nothing else uses what the branch computes. `excluded`
    are sums that are known to be something else, such as the bias of attention scores.
    """
    return _SumFinder(view, excluded).find()


class _SumFinder:
    def __init__(self, view: SignalGraph, excluded: Set[int]) -> None:
        self._view = view
        self._excluded = excluded
        self._sums: dict[int, ResidualSum] = {}

    def find(self) -> dict[int, ResidualSum]:
        for node in self._view.nodes:
            if node.kind == "add" and len(node.inputs) == 2 and node.index not in self._excluded:
                found = self._read_identity(node) or self._read_projection(node)
                if found is not None and not self._is_difference(node):
                    self._sums[node.index] = found
        return self._sums

    def _read_identity(self, node: Node) -> ResidualSum | None:
        first, second = node.inputs
        found = [
            one
            for one in (
                self._read_summands(node, first, second),
                self._read_summands(node, second, first),
            )
            if one is not None
        ]
        return max(found, key=lambda one: one.fork, default=None)

    def _read_summands(self, node: Node, shortcut: int, end: int) -> ResidualSum | None:
        stream = list_stream(self._view, self._sums, shortcut)
        if end in stream:
            return None
        fork = next((one for one in stream if self._view.ancestors[end] >> one & 1), None)
        if fork is None:
            return None
        inside = self._view.collect_between(fork, end)
        if not self._is_branch(end, inside) or self._is_gated(fork, end, inside):
            return None
        return ResidualSum(node.index, shortcut, end, fork, inside)

    def _is_branch(self, end: int, inside: Set[int]) -> bool:
        """Whether layers write the summand, or it has none but is no mere view of the stream."""
        if self._view.layers.isdisjoint(inside):
            labels = [self._view.nodes[one].label.lower() for one in inside]
            return any(word in label for label in labels for word in _MIXING)
        return bool(find_writers(self._view, end, inside))

    def _read_projection(self, node: Node) -> ResidualSum | None:
        first, second = node.inputs
        found = (
            self._read_projected(node, shortcut, end)
            for shortcut, end in ((first, second), (second, first))
        )
        return next((one for one in found if one is not None), None)

    def _read_projected(self, node: Node, shortcut: int, end: int) -> ResidualSum | None:
        for fork, layers in _list_linear(self._view, shortcut):
            if fork == end or not self._view.ancestors[end] >> fork & 1:
                continue
            inside = self._view.collect_between(fork, end)
            closed = all(
                user in inside or user == node.index
                for one in inside
                for user in self._view.users[one]
            )
            curved = any(self._view.nodes[one].kind in _CURVED for one in inside)
            longer = _count_layers(self._view, end, inside) > len(layers)
            if closed and curved and longer and find_writers(self._view, end, inside):
                return ResidualSum(node.index, shortcut, end, fork, inside, layers)
            return None
        return None

    def _is_gated(self, fork: int, end: int, inside: Set[int]) -> bool:
        """Whether a way from the stream to the summand meets products, but neither a layer nor a
        normalization: the state of a recurrence, or a stream that is multiplied by a gate.
        """
        waiting, seen = [(fork, False)], set()
        while waiting:
            index, multiplied = waiting.pop()
            for user in self._view.users[index]:
                node = self._view.nodes[user]
                if user not in inside or node.kind in ("layer", "normalization"):
                    continue
                state = user, multiplied or _is_product(node)
                if state == (end, True):
                    return True
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
        return False

    def _is_difference(self, node: Node) -> bool:
        """Whether it is a difference that a gate multiplies: h + z·(n - h)."""
        return node.target not in ("add", "radd") and any(
            self._view.nodes[user].kind == "product" for user in self._view.users[node.index]
        )


def list_stream(view: SignalGraph, sums: dict[int, ResidualSum], index: int) -> list[int]:
    """The nodes that a stream came through to `index`, latest first: residual sums, and what moves,
    normalizes or activates the stream between them; to the layer or sum that begins it.
    """
    found = [index]
    while True:
        if index in sums:
            index = sums[index].fork if sums[index].projection else sums[index].shortcut
        elif _is_own_sum(view, index):
            index = min(view.list_signals(index))
        elif (
            view.nodes[index].kind in _CARRYING
            and not view.is_part(index)
            and not view.is_mixture(index)
            and len(sources := view.list_signals(index)) == 1
        ):
            index = sources[0]
        else:
            return found
        found.append(index)


def _is_product(node: Node) -> bool:
    """Whether several tensors are multiplied, also if one is an input of the model."""
    return node.kind == "product" or (node.target in ("mul", "multiply") and len(node.inputs) > 1)


def _is_own_sum(view: SignalGraph, index: int) -> bool:
    """Whether a tensor and its own average are added: a branch that no layer and no normalization
    computes.
    """
    node = view.nodes[index]
    return (
        node.kind == "transparent"
        and node.target in function_kinds.SUMS
        and len(view.list_signals(index)) == 2
    )


def find_writers(view: SignalGraph, end: int, inside: Set[int]) -> frozenset[int]:
    """The layers that end a branch: the last ones before its sum. Dropout, scales, normalizations
    and gates may lie between; of a product's factors those that are no activations count.
    """
    nearest: dict[int, _Nearest] = {}
    for index in sorted(inside):
        nearest[index] = _find_nearest(view, index, nearest)
    return nearest[end].plain | nearest[end].curved


@dataclass(frozen=True)
class _Nearest:
    """The layers nearest before a node."""

    plain: frozenset[int] = frozenset()
    curved: frozenset[int] = frozenset()
    """Those behind an activation or softmax."""


def _find_nearest(view: SignalGraph, index: int, nearest: dict[int, _Nearest]) -> _Nearest:
    node = view.nodes[index]
    if index in view.layers:
        return _Nearest(plain=frozenset({index}))
    if view.is_adapter(node):
        return _Nearest()
    sources = [nearest[source] for source in view.list_averaged(index) if source in nearest]
    plain = frozenset().union(*(source.plain for source in sources))
    curved = frozenset().union(*(source.curved for source in sources))
    if node.kind in ("activation", "softmax"):
        return _Nearest(curved=plain | curved)
    if node.kind == "product" and plain and len(sources) > 1:
        return _Nearest(plain=plain)
    return _Nearest(plain, curved)


def _list_linear(view: SignalGraph, index: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The nodes that `index` is a linear projection of, each with the layers of that."""
    layers: tuple[int, ...] = ()
    while True:
        node = view.nodes[index]
        sources = view.list_signals(index)
        if index in view.layers and not is_lookup(node):
            layers = (index, *layers)
        elif node.kind not in ("transparent", "normalization") or view.is_part(index):
            return
        if len(sources) != 1 or len(layers) > _LONGEST_PROJECTION:
            return
        (index,) = sources
        if layers:
            yield index, layers


def _count_layers(view: SignalGraph, end: int, inside: Set[int]) -> int:
    """The number of layers on the longest way through a branch."""
    longest: dict[int, int] = {}
    for index in sorted(inside):
        longest[index] = (index in view.layers) + max(
            (longest.get(source, 0) for source in view.nodes[index].inputs), default=0
        )
    return longest[end]
