"""Plain paths: layers one after another, with nothing but activations and moves between. There the
weights alone must keep the size of signals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fanin.diagnosis.findings.anatomy import Anatomy, DrawnMap
from fanin.diagnosis.findings.quick_moments import KnownActivation
from fanin.diagnosis.findings.signal_paths import is_linear_layer
from fanin.initializers.auto import DEEP
from fanin.structure import Follower, Graph
from fanin.structure.elementwise import find_elementwise
from fanin.structure.followers import Activation

SMALLEST, LARGEST = 1e-250, 1e250
"""Second moments beyond are as good as 0, or infinite."""


@dataclass(frozen=True)
class PathLayer:
    """One layer of a plain path."""

    node: int
    map: DrawnMap
    activation: KnownActivation
    """What its output goes through before the next layer."""
    best: float
    """The gain that suits what follows, as `auto` chooses it."""

    @property
    def gain(self) -> float:
        """√(variance · fan-in), with the strides of transposed convolutions taken into account."""
        layout = self.map.use.get_effective_layout()
        fan = layout.fans.fan_in if layout.fans is not None and not self.map.part else None
        return self.map.draw.std * math.sqrt(fan or self.map.fans.fan_in)

    @property
    def excess(self) -> float:
        """ln(gain / best); 0: right."""
        return math.log(max(self.gain, SMALLEST) / self.best)


@dataclass(frozen=True)
class Drift:
    """How much a path multiplies signals by, from the output of its first layer to that of its
    last, and gradients on the way back: natural logarithms of root mean squares.
    """

    forward: float
    backward: float

    @property
    def worst(self) -> float:
        """The one that is further from 0."""
        return max(self.forward, self.backward, key=abs)


def predict_drift(path: Sequence[PathLayer], gains_used: Sequence[float]) -> Drift:
    """Follow the second moment of a signal of unit size through a path whose layers have these
    gains (wide layers, no biases).
    """
    q = gains_used[0] ** 2
    first, backward = q, 0.0
    for before, layer, gain in zip(path, path[1:], gains_used[1:], strict=False):
        moments = before.activation.compute_moments(min(q, LARGEST))
        width = layer.map.fans.fan_out / layer.map.fans.fan_in
        backward += 0.5 * math.log(max(gain * gain * width * moments.slope2, SMALLEST))
        q = max(gain * gain * moments.second, SMALLEST)
    return Drift(0.5 * math.log(q / max(first, SMALLEST)), backward)


def list_plain_paths(anatomy: Anatomy) -> Iterator[tuple[PathLayer, ...]]:
    """The longest plain paths, each layer in one of them; last layers before the output are left
    out, as their size is that of the output.
    """
    graph = anatomy.graph
    if graph is None:
        return
    maps = {
        node: state.maps[0]
        for name, nodes in anatomy.nodes.items()
        for node in nodes
        if (state := anatomy.by_layer.get(name)) is not None and len(state.maps) == 1
    }
    following = {
        node: list(_list_following(graph, node, maps))
        for node in maps
        if is_linear_layer(graph.nodes[node])
    }
    free = set(following)
    while free:
        nodes = _find_longest(following, free)
        if len(nodes) < 2:
            return
        free -= set(nodes)
        yield tuple(_describe_path(anatomy, nodes, following, maps))


def _list_following(
    graph: Graph, start: int, maps: Mapping[int, DrawnMap]
) -> Iterator[tuple[int, Activation | None]]:
    """The layers right after one, each with the activation between."""
    waiting: list[tuple[int, Activation | None]] = [(start, None)]
    seen = {start}
    while waiting:
        index, activation = waiting.pop()
        for user in graph.users[index]:
            node = graph.nodes[user]
            if user in seen:
                continue
            seen.add(user)
            function = find_elementwise(graph, index, user)
            if function is not None and activation is None:
                seen |= function.indices
                waiting.append((max(function.indices), function))
            elif node.kind == "transparent":
                waiting.append((user, activation))
            elif node.kind == "activation" and activation is None:
                waiting.append((user, node.module or node.spec))
            elif user in maps and is_linear_layer(node):
                yield user, activation


def _find_longest(
    following: Mapping[int, list[tuple[int, Activation | None]]], free: set[int]
) -> list[int]:
    """The longest path through layers that belong to none yet."""
    after: dict[int, int | None] = {}
    length: dict[int, int] = {}
    for node in sorted(free, reverse=True):
        options = [one for one, _ in following[node] if one in free and one in length]
        after[node] = max(options, key=length.__getitem__, default=None)
        best = after[node]
        length[node] = 1 + (length[best] if best is not None else 0)
    node_or_none: int | None = max(length, key=lambda one: (length[one], -one))
    found = []
    while node_or_none is not None:
        found.append(node_or_none)
        node_or_none = after[node_or_none]
    return found


def _describe_path(
    anatomy: Anatomy,
    nodes: Sequence[int],
    following: Mapping[int, list[tuple[int, Activation | None]]],
    maps: Mapping[int, DrawnMap],
) -> Iterator[PathLayer]:
    followers = [anatomy.get_follower(maps[node].use) for node in nodes]
    last, graph = followers[-1], anatomy.graph
    assert graph is not None
    unknown = last is None or last.kind != "activation"
    kept = nodes[:-1] if unknown or is_last_layer(graph, nodes[-1]) else nodes
    for number, node in enumerate(kept):
        follower = followers[number]
        activation = follower.activation if follower is not None else None
        if number + 1 < len(nodes):
            activation = dict(following[node]).get(nodes[number + 1])
        known = KnownActivation(activation)
        yield PathLayer(node, maps[node], known, _choose_gain(follower, known, len(kept)))


def is_last_layer(graph: Graph, start: int) -> bool:
    """Whether no layer follows: an output may start small on purpose, before a tanh too."""
    waiting, seen = [start], {start}
    while waiting:
        for user in graph.users[waiting.pop()]:
            if graph.nodes[user].kind == "layer":
                return False
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return True


def _choose_gain(follower: Follower | None, activation: KnownActivation, depth: int) -> float:
    """The gain that keeps the second moment; in deep paths the critical one, as `auto` does."""
    if activation.identity:
        return 1.0
    deep = max(depth, follower.plain_depth if follower is not None else 0) >= DEEP
    return activation.compute_critical_gain() if deep else activation.compute_gain()
