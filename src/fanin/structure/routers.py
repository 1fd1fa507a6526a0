"""Routers of mixtures of experts: layers whose output becomes the weights of others' outputs."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from torch import Tensor

from fanin.structure import function_kinds
from fanin.structure.graph import Node
from fanin.structure.signal_graph import SignalGraph, is_lookup

_SELECTING = frozenset(["topk", "sort", "kthvalue", "max", "amax"])
_SIGMOIDS = ("sigmoid", "Sigmoid", "hardsigmoid", "Hardsigmoid")


@dataclass(frozen=True)
class Routing:
    """The nodes of one router and of what it weighs."""

    router: int
    source: frozenset[int]
    """What the router reads."""
    weighted: frozenset[int]
    """The products of its weights and experts' outputs."""
    outputs: tuple[int, ...]
    """The experts' outputs, before they are weighted."""


def find_routings(
    view: SignalGraph, values: Mapping[int, Tensor], scores: Set[int]
) -> tuple[Routing, ...]:
    """Every layer whose output becomes, by a softmax over its units or by a sigmoid of which the
    largest are selected, weights of what other layers computed from the same signal.

    Args:
        values: the tensors of a forward pass, if there was one.
        scores: the nodes of attention, which are no routers.
    """
    found = (
        _follow_weights(view, values, layer, scores)
        for layer in sorted(view.layers)
        if not is_lookup(view.nodes[layer])
    )
    return tuple(routing for routing in found if routing is not None)


def _follow_weights(
    view: SignalGraph, values: Mapping[int, Tensor], layer: int, scores: Set[int]
) -> Routing | None:
    before, after, selected = _collect_weights(view, values, layer, scores)
    if not after or not selected:
        return None
    source = frozenset(map(view.skip_moves, view.list_signals(layer)))
    weighted: dict[int, tuple[int, ...]] = {}
    for index in sorted(after):
        for user in view.users[index]:
            others = [one for one in view.list_signals(user) if one not in after | before]
            if len(others) == 1 and _is_weighting(view.nodes[user]):
                if _computes_from(view, others[0], layer, source):
                    weighted[user] = (others[0],)
                elif _is_cut(view, before | after) and view.skip_moves(others[0]) in source:
                    weighted[user] = _list_computed(view, user)
    if not weighted:
        return None
    outputs = tuple(dict.fromkeys(one for found in weighted.values() for one in found))
    return Routing(layer, source, frozenset(weighted), outputs)


def _is_cut(view: SignalGraph, indices: Set[int]) -> bool:
    """Whether the largest of a router's outputs were selected."""
    return any(view.nodes[index].target in _SELECTING for index in indices)


def _list_computed(view: SignalGraph, start: int) -> tuple[int, ...]:
    """The last layers of experts whose inputs were weighted: what follows up to a sum."""
    found, waiting, seen = set[int](), [start], {start}
    while waiting:
        index = waiting.pop()
        following = [
            user
            for user in view.users[index]
            if view.nodes[user].kind in ("layer", "transparent", "activation", "product")
        ]
        if index in view.layers:
            found.add(index)
        waiting += [user for user in following if user not in seen]
        seen |= set(following)
    return tuple(
        sorted(one for one in found if view.collect_between(one, max(found)) == frozenset())
    )


def _collect_weights(
    view: SignalGraph, values: Mapping[int, Tensor], layer: int, scores: Set[int]
) -> tuple[set[int], set[int], bool]:
    """The nodes that are functions of a layer's output alone: those before and those after it
    became weights; and whether these are a softmax, or the largest were selected.
    """
    before, after = {layer}, set[int]()
    selected = False
    waiting = [layer]
    while waiting:
        for user in view.users[waiting.pop(0)]:
            node = view.nodes[user]
            signals = view.list_signals(user)
            if (
                user in before | after
                or user in scores
                or not (before | after).issuperset(signals)
                or node.kind in ("layer", "normalization", "output")
            ):
                continue
            selected |= node.target in _SELECTING
            if node.kind == "softmax":
                if not _is_over_units(view, values, layer, node):
                    continue
                selected = True
            became = node.kind == "softmax" or node.label in _SIGMOIDS
            (after if became or not after.isdisjoint(signals) else before).add(user)
            waiting.append(user)
    return before, after, selected


def _is_over_units(
    view: SignalGraph, values: Mapping[int, Tensor], layer: int, softmax: Node
) -> bool:
    """Whether a softmax runs over a layer's units or the selected ones, not over positions or a
    part of the units; True without a forward pass.
    """
    output = values.get(layer)
    taken = values.get(softmax.inputs[0])
    if output is None or taken is None or output.dim() == 0:
        return True
    axis = softmax.call.get_option(1, "dim") if softmax.call is not None else None
    axis = getattr(softmax.module, "dim", axis)
    if not isinstance(axis, int) or not -taken.dim() <= axis < taken.dim() or output.shape[-1] < 2:
        return False
    if any(
        view.nodes[index].target in _SELECTING
        for index in view.collect_between(layer, softmax.inputs[0])
    ):
        return axis % taken.dim() == taken.dim() - 1
    return taken.shape[axis] == output.shape[-1] and axis % taken.dim() == taken.dim() - 1


def _is_weighting(node: Node) -> bool:
    return node.target in ("mul", "multiply") or node.target in function_kinds.MIXING


def _computes_from(view: SignalGraph, output: int, router: int, source: Set[int]) -> bool:
    """Whether layers lie between what the router reads and an expert's output."""
    return any(
        not view.collect_between(start, output).isdisjoint(view.layers - {router})
        for start in source
    )
