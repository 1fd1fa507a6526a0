"""Where queries and keys meet in a softmax, and values are averaged by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fanin.structure import function_kinds
from fanin.structure.graph import Node
from fanin.structure.signal_graph import SignalGraph

_BATCHED = {
    "matmul": ((0, "input"), (1, "other")),
    "bmm": ((0, "input"), (1, "mat2")),
    "mm": ((0, "input"), (1, "mat2")),
    "baddbmm": ((1, "batch1"), (2, "batch2")),
    "addmm": ((1, "mat1"), (2, "mat2")),
}
"""Products of matrices by rows and columns: where their two factors stand among the arguments."""

_ELEMENTWISE = ("mul", "multiply")
_THROUGH_SCORES = ("transparent", "add", "activation", "other")
"""What may lie between the product and the softmax: masks, biases, a soft cap, a constant."""


@dataclass(frozen=True)
class AttentionCore:
    """The nodes of one attention."""

    query: int
    key: int
    value: int
    mix: int
    """The values' average."""
    scores: frozenset[int]
    """From the product to the softmax."""


def find_attention_cores(view: SignalGraph) -> tuple[AttentionCore, ...]:
    """Every softmax of a product of two computed tensors that averages a third one."""
    found = (_read_core(view, node) for node in view.nodes if node.kind == "softmax")
    return tuple(core for core in found if core is not None)


def _read_core(view: SignalGraph, softmax: Node) -> AttentionCore | None:
    if softmax.target == function_kinds.ATTENTION:
        return _read_fused(view, softmax)
    products, scores = _find_products(view, softmax)
    mixed = next(_find_mixes(view, softmax.index), None)
    for product in products:
        factors = _get_factors(view, product)
        if factors is None or mixed is None:
            continue
        first, second = factors
        if _is_swapped(softmax, product):
            first, second = second, first
        mix, value = mixed
        return AttentionCore(first, second, value, mix, frozenset({*scores, softmax.index}))
    return None


def _read_fused(view: SignalGraph, softmax: Node) -> AttentionCore | None:
    call = softmax.call
    assert call is not None
    query, key, value = (
        call.get_node(*place) for place in ((0, "query"), (1, "key"), (2, "value"))
    )
    if query is None or key is None or value is None:
        return None
    mix = next((user for user in view.users[softmax.index] if view.nodes[user].call is call), None)
    if mix is None:
        return None
    return AttentionCore(query, key, value, mix, frozenset({softmax.index}))


def _find_products(view: SignalGraph, softmax: Node) -> tuple[list[Node], set[int]]:
    """The products that a softmax is of, and the nodes between."""
    found: list[Node] = []
    seen: set[int] = set()
    waiting = list(softmax.inputs)
    while waiting:
        index = waiting.pop(0)
        node = view.nodes[index]
        if index in seen:
            continue
        if _is_scoring(view, node):
            found.append(node)
        elif node.kind not in _THROUGH_SCORES and not _mixes_heads(view, node):
            continue
        seen.add(index)
        if node not in found:
            waiting += node.inputs
    return found, seen


def _mixes_heads(view: SignalGraph, node: Node) -> bool:
    """Whether a layer reads scores: talking heads mix those of all heads before the softmax."""
    if node.kind != "layer" or len(node.inputs) != 1:
        return False
    return _is_scoring(view, view.nodes[view.skip_moves(node.inputs[0])])


def _is_scoring(view: SignalGraph, node: Node) -> bool:
    return (
        node.kind == "product"
        and node.target in (*function_kinds.MIXING, *_ELEMENTWISE)
        and _get_factors(view, node) is not None
    )


def _get_factors(view: SignalGraph, product: Node) -> tuple[int, int] | None:
    """The two computed factors of a product, in the order of its arguments."""
    if product.target in _BATCHED and product.call is not None:
        first, second = (product.call.get_node(*place) for place in _BATCHED[product.target])
        if first in view.computed and second in view.computed:
            assert first is not None
            assert second is not None
            return first, second
    computed = view.list_signals(product.index)
    if len(computed) == 1:
        return computed[0], computed[0]
    return (computed[0], computed[1]) if len(computed) == 2 else None


def _find_mixes(view: SignalGraph, softmax: int) -> Iterator[tuple[int, int]]:
    """Where a softmax averages another computed tensor: that node and the tensor."""
    weights, waiting = {softmax}, [softmax]
    while waiting:
        for user in view.users[waiting.pop(0)]:
            node = view.nodes[user]
            others = [
                source
                for source in view.list_signals(user)
                if source not in weights and not view.ancestors[source] >> softmax & 1
            ]
            if others and (node.target in function_kinds.MIXING or node.target in _ELEMENTWISE):
                yield user, others[0]
            elif not others and user not in weights and _keeps_weights(view, node, weights):
                weights.add(user)
                waiting.append(user)


def _keeps_weights(view: SignalGraph, node: Node, weights: set[int]) -> bool:
    """Whether weights of attention are weights still after a step; talking heads mix them, too."""
    if node.kind == "layer":
        return any(view.nodes[view.skip_moves(one)].kind == "softmax" for one in node.inputs)
    return node.kind in ("transparent", "product")


def _is_swapped(softmax: Node, product: Node) -> bool:
    """Whether the softmax runs over the rows of the product, so that its first factor is the keys'
    and not the queries'.
    """
    axis = _get_axis(softmax)
    if axis is None:
        return False
    if product.target == "einsum" and product.call is not None:
        return _is_first_of_einsum(product.call.args[0] if product.call.args else None, axis)
    return axis == -2


def _get_axis(softmax: Node) -> int | None:
    found = (
        getattr(softmax.module, "dim", None)
        if softmax.module is not None
        else softmax.call.get_option(1, "dim")
        if softmax.call is not None
        else None
    )
    return found if isinstance(found, int) else None


def _is_first_of_einsum(equation: object, axis: int) -> bool:
    """Whether the axis of a result comes from the first factor alone."""
    if not isinstance(equation, str) or "->" not in equation or "," not in equation:
        return False
    factors, _, result = equation.replace(" ", "").partition("->")
    first, second = factors.split(",")[:2]
    if not -len(result) <= axis < len(result):
        return False
    return result[axis] in first and result[axis] not in second
