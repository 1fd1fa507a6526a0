"""How deep a model is without normalizations and residual sums: where signals must keep their size
by the weights alone.
"""

from __future__ import annotations

from fanin.structure.graph import Graph

_BREAKS = ("normalization", "add")


def plain_depths(graph: Graph) -> dict[int, int]:
    """Of each layer's node, the layers on the longest path through it that meets no normalization
    and no sum.
    """
    before, after = [0] * len(graph.nodes), [0] * len(graph.nodes)
    for node in graph.nodes:
        if node.kind not in _BREAKS:
            before[node.index] = (node.kind == "layer") + max(
                (before[source] for source in node.inputs), default=0
            )
    for node in reversed(graph.nodes):
        if node.kind not in _BREAKS:
            after[node.index] = (node.kind == "layer") + max(
                (after[user] for user in graph.users[node.index]), default=0
            )
    return {
        node.index: before[node.index] + after[node.index] - 1
        for node in graph.nodes
        if node.kind == "layer"
    }
