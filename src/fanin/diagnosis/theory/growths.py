"""χ₁ of each layer: what a layer, and what lies between it and the layer before, multiply a small
difference by.
"""

from __future__ import annotations

from fanin.diagnosis.theory.forward_record import ForwardMoments
from fanin.structure import Graph, Node
from fanin.structure.passages import get_pool_growth
from fanin.structure.tensor_moments import Shapes


def find_growths(graph: Graph, forward: ForwardMoments, shapes: Shapes) -> dict[int, float]:
    """χ₁ by the node of each layer that another one precedes without a sum between.

    That is σ_w² E f'², at the measured variance of what f takes: the ratio of the squared lengths
    of the gradients at the two layers' outputs, the earlier over the later.
    """
    since: dict[int, float] = {}
    """What a difference was multiplied by since the last layer."""
    found: dict[int, float] = {}
    for node in graph.nodes:
        if node.kind == "layer":
            layer = forward.maps.get(node.index)
            before = since.get(node.inputs[0]) if len(node.inputs) == 1 else None
            if layer is not None and before is not None and not layer.table:
                found[node.index] = before * layer.weight_variance
            if layer is not None:
                since[node.index] = 1.0
            continue
        growth = _pass_on(node, since, forward, shapes)
        if growth is not None:
            since[node.index] = growth
    return found


def _pass_on(
    node: Node, since: dict[int, float], forward: ForwardMoments, shapes: Shapes
) -> float | None:
    if node.index in forward.activations:
        before = since.get(forward.activations[node.index][0])
        slope = forward.activation_slopes.get(node.index)
        return None if before is None or slope is None else before * slope
    before = since.get(node.inputs[0]) if len(node.inputs) == 1 else None
    if before is None:
        return None
    if node.kind == "normalization":
        norm = forward.slopes.get(node.index)
        return None if norm is None else before * norm.square
    if node.kind != "transparent":
        return None
    passage = forward.passages.get(node.index)
    if passage is not None:
        return before * passage.factor**2 * passage.thin
    slope = forward.activation_slopes.get(node.inputs[0], 1.0)
    share = get_pool_growth(node, shapes, slope)
    return None if share is None else before * share
