"""Gates: a layer whose activated output multiplies another signal, as in SwiGLU."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from torch import nn

from fanin.structure.graph import Node
from fanin.structure.signal_graph import SignalGraph

_NO_GATES = frozenset(
    [
        "square",
        "pow",
        "abs",
        "absolute",
        "erf",
        "atan",
        "arctan",
        "asinh",
        "cos",
        "sin",
        "clamp",
        "clip",
    ]
)
"""Activations that gate nothing: parts of formulas, such as rotations."""

_BOUNDS = ("clamp", "clip")


@dataclass(frozen=True)
class GateNodes:
    """The nodes of one gate."""

    product: int
    gate: frozenset[int]
    """The layers before the activation."""
    gate_signal: int
    """What enters the activation."""
    up: frozenset[int]
    """The layers of the gated signal, if they read what the gate's layers read."""
    up_signal: int
    down: frozenset[int]
    """The layers that the product enters, if there is an `up`."""
    activation: str


def find_gates(view: SignalGraph, sums: Set[int], excluded: Set[int]) -> tuple[GateNodes, ...]:
    """Every product of an activation of one layer's output with another signal; `excluded` are the
    products of experts and their router.
    """
    return tuple(
        gate
        for node in view.nodes
        if node.kind == "product" and node.index not in excluded
        for gate in _read_product(view, node, sums)
    )


def _read_product(view: SignalGraph, node: Node, sums: Set[int]) -> Iterator[GateNodes]:
    if isinstance(node.module, nn.GLU) or node.target == "glu":
        yield _read_halves(view, node, sums)
        return
    if node.target not in ("mul", "multiply"):
        return
    signals = view.list_signals(node.index)
    if len(signals) != 2:
        return
    activated = [_find_activated(view, signal) for signal in signals]
    first = _choose_gate(view, activated)
    if first is None:
        return
    signal, name = activated[first] or (0, "")
    gated = signals[1 - first]
    gate = view.find_sources(signal, sums)
    if not gate or view.skip_views(signal) == view.skip_views(gated):
        return  # an activation that is written out multiplies its own input
    up_signal = (activated[1 - first] or (gated, ""))[0]
    up, down = _find_direct(view, up_signal), _find_down(view, node.index)
    if up and _read_the_same(view, gate, up):
        yield GateNodes(node.index, gate, signal, up, up_signal, down, name)
    elif down or _is_bounded(name):
        yield GateNodes(node.index, gate, signal, frozenset(), gated, frozenset(), name)


def _is_bounded(name: str) -> bool:
    """Whether an activation opens and shuts, as those of recurrent gates do."""
    return any(word in name.lower() for word in ("sigmoid", "tanh"))


def _read_halves(view: SignalGraph, node: Node, sums: Set[int]) -> GateNodes:
    (source,) = view.list_signals(node.index)
    layers = view.find_sources(source, sums)
    down = _find_down(view, node.index)
    return GateNodes(node.index, layers, source, layers, source, down, "sigmoid")


def _find_activated(view: SignalGraph, index: int) -> tuple[int, str] | None:
    """What an activation was applied to, and its name; None if a signal is no activation."""
    index = view.skip_moves(index)
    node = view.nodes[index]
    if node.kind == "activation" and node.target not in _NO_GATES and len(node.inputs) == 1:
        return node.inputs[0], node.label
    return _find_written_out(view, index)


def _find_written_out(view: SignalGraph, index: int) -> tuple[int, str] | None:
    """An activation such as x·sigmoid(1.7·x)."""
    node = view.nodes[index]
    signals = view.list_signals(index)
    if node.kind != "product" or node.function is None or len(signals) != 2:
        return None
    for factor, other in (signals, signals[::-1]):
        step = view.nodes[view.skip_moves(factor)]
        if step.kind == "activation" and len(step.inputs) == 1:
            inner = view.skip_moves(step.inputs[0])
            if inner == view.skip_moves(other):
                return other, f"x·{step.label}(x)"
    return None


def _choose_gate(view: SignalGraph, activated: list[tuple[int, str] | None]) -> int | None:
    """Which factor is the gate: the activated one, of two the one that a sigmoid bounds."""
    chosen = [place for place, one in enumerate(activated) if one is not None]
    if len(chosen) < 2:
        return chosen[0] if chosen else None
    sigmoids = [place for place in chosen if "sigmoid" in (activated[place] or (0, ""))[1].lower()]
    return sigmoids[0] if len(sigmoids) == 1 else None


def _find_direct(view: SignalGraph, index: int) -> frozenset[int]:
    """The layer that a signal is, with nothing but views, parts and normalizations between."""
    while index not in view.layers:
        node = view.nodes[index]
        sources = view.list_signals(index)
        if len(sources) != 1 or not (
            node.kind in ("transparent", "normalization") or node.target in _BOUNDS
        ):
            return frozenset()
        (index,) = sources
    return frozenset({index})


def _read_the_same(view: SignalGraph, gate: Set[int], up: Set[int]) -> bool:
    """Whether layers have the same input, or are one."""
    if gate == up:
        return True
    inputs = [
        {view.skip_moves(source) for layer in layers for source in view.list_signals(layer)}
        for layers in (gate, up)
    ]
    return inputs[0] == inputs[1]


def _find_down(view: SignalGraph, product: int) -> frozenset[int]:
    found: set[int] = set()
    seen, waiting = {product}, [product]
    while waiting:
        for user in view.users[waiting.pop()]:
            if user in view.layers:
                found.add(user)
            elif user not in seen and view.nodes[user].kind in ("transparent", "normalization"):
                seen.add(user)
                waiting.append(user)
    return frozenset(found)
