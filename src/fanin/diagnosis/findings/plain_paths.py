"""The layers between two normalizations, sums or the model's ends: there nothing but the weights
keeps the size of signals and gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanin.diagnosis.measurement import Measurement, Signal
from fanin.structure import Node
from fanin.structure.function_kinds import AVERAGES

_BREAKS = ("normalization", "add", "product", "softmax")
"""Kinds of nodes after which a signal's size no longer tells of the layers before."""


@dataclass(frozen=True)
class PlainPath:
    """Layers in the order of computation, each the nearest before the next."""

    start: Signal | None
    """What the first layer was given: an input, a normalization's output or a sum; None if that was
    not measured, as with indices.
    """
    layers: tuple[Signal, ...]

    @property
    def last(self) -> Signal:
        return self.layers[-1]


def find_plain_paths(measurement: Measurement) -> tuple[PlainPath, ...]:
    """The longest path to each layer that no other layer continues."""
    before = _link_layers(measurement)
    continued = {one for one in before.values() if one is not None}
    paths = []
    for layer in measurement.layers:
        if layer.node in continued:
            continue
        nodes: list[int] = []
        current: int | None = layer.node
        while current is not None:
            nodes.append(current)
            current = before[current]
        layers = tuple(measurement.signals[one] for one in reversed(nodes))
        paths.append(PlainPath(find_start(measurement, layers[0]), layers))
    return tuple(paths)


def _link_layers(measurement: Measurement) -> dict[int, int | None]:
    """Of each layer's node the nearest layer before it, on a way without a break."""
    found: dict[int, int | None] = {}
    for layer in measurement.layers:
        current = layer.inputs
        seen = None
        while current:
            node = measurement.graph.nodes[current[0]]
            if node.kind == "layer":
                seen = node.index if node.index in measurement.signals else None
                break
            if node.kind in _BREAKS or _is_average(node):
                break
            current = node.inputs
        found[layer.node] = seen
    return found


def _is_average(node: Node) -> bool:
    """Whether a node mixes two computed signals, as attention averages values by its weights."""
    return node.module is None and node.target in AVERAGES and len(node.inputs) > 1


def find_start(measurement: Measurement, layer: Signal) -> Signal | None:
    """The signal that a layer is computed from."""
    current = layer.inputs
    while current:
        index = current[0]
        if index in measurement.signals:
            return measurement.signals[index]
        current = measurement.graph.nodes[index].inputs
    return None


def measure_norm(signal: Signal) -> float | None:
    """The length of a signal's gradient: unlike its rms, it does not depend on the size of the
    tensor that it is spread over.
    """
    if signal.gradient_rms is None:
        return None
    return signal.gradient_rms * math.sqrt(math.prod(signal.shape))
