"""Activations that are written out, such as ``x * torch.sigmoid(x)``: steps that together are a
function of one number.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from torch import Tensor

from fanin.structure.graph import Graph, Node

_CURVED = ("activation", "product", "other")
"""Kinds of elementwise steps that are not linear."""


class ElementwiseExpression:
    """The function of one number that some steps of a model compute together; it takes tensors of
    any shape.
    """

    def __init__(self, start: int, nodes: Sequence[Node]) -> None:
        self._start = start
        self._nodes = tuple(nodes)

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), elementwise, of the shape of `x`, which is not changed."""
        values = {self._start: x.clone()}
        for node in self._nodes:
            assert node.function is not None
            values[node.index] = node.function(*(values[source] for source in node.inputs))
        return values[self._nodes[-1].index]

    @property
    def indices(self) -> set[int]:
        """The indices of its nodes."""
        return {node.index for node in self._nodes}

    def __repr__(self) -> str:
        return f"elementwise({', '.join(node.label for node in self._nodes)})"


def find_elementwise(graph: Graph, start: int, user: int) -> ElementwiseExpression | None:
    """The elementwise function of node `start` that begins with its user `user`, if it is more than
    one step.

    Several steps are one function if everything they compute from `start` ends in the last
    of them: after ``x * torch.sigmoid(x)`` nothing uses x's sigmoid alone. Constants before it
    belong to it, as in ``torch.sin(30 * x)``, and so do further curved steps on its result, such as
    the square of a ReLU. A constant that its result is multiplied by does not: it often scales a
    residual branch down on purpose, and a gain must not undo that.
    """
    reach = _collect_elementwise(graph, start)
    ways = (_collect_closed(graph, start, user, end, reach) for end in reach)
    found = next(
        (
            members
            for members in ways
            if any(graph.nodes[index].kind in _CURVED for index in members)
        ),
        None,
    )
    if not found:
        return None
    steps = sorted(found)
    steps += _collect_curved_tail(graph, steps[-1])
    nodes = [graph.nodes[index] for index in steps]
    return (
        ElementwiseExpression(start, nodes)
        if len(nodes) > 1 or nodes[0].kind == "product"
        else None
    )


def _collect_elementwise(graph: Graph, start: int) -> list[int]:
    """The steps that are elementwise functions of `start` and of nothing else, in order."""
    found = {start: None}
    waiting = list(graph.users[start])
    heapq.heapify(waiting)
    while waiting:
        node = graph.nodes[heapq.heappop(waiting)]
        if (
            node.index not in found
            and node.function is not None
            and all(source in found for source in node.inputs)
        ):
            found[node.index] = None
            for index in graph.users[node.index]:
                heapq.heappush(waiting, index)
    return list(found)[1:]


def _collect_closed(
    graph: Graph, start: int, user: int, end: int, reach: Sequence[int]
) -> set[int]:
    """The steps from `start` to `end`, if `user` is among them and nothing else is made of those
    before `end`; else none.
    """
    inside = _collect_ancestors(graph, end, set(reach))
    if user not in inside:
        return set()
    if any(index not in inside for member in inside - {end} for index in graph.users[member]):
        return set()
    later = {end}
    for index in reach:
        if index > end and later.intersection(graph.nodes[index].inputs):
            if not later.issuperset(graph.nodes[index].inputs):
                return set()  # what comes out meets the start once more
            later.add(index)
    return inside


def _collect_ancestors(graph: Graph, end: int, among: set[int]) -> set[int]:
    found: set[int] = set()
    waiting = [end]
    while waiting:
        index = waiting.pop()
        if index in among and index not in found:
            found.add(index)
            waiting.extend(graph.nodes[index].inputs)
    return found


def _collect_curved_tail(graph: Graph, end: int) -> list[int]:
    """The curved elementwise steps that follow one after another and are the only users of what is
    before them.
    """
    tail: list[int] = []
    while len(graph.users[end]) == 1:
        node = graph.nodes[graph.users[end][0]]
        if node.function is None or node.kind not in _CURVED or node.inputs != (end,):
            break
        tail.append(end := node.index)
    return tail
