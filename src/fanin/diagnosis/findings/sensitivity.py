"""Gradients that explode along any path, through normalizations and sums too: F007.

Behind a normalization the size of a signal is arbitrary, and that of its gradient with it. What is
compared is therefore the sensitivity: the change of the loss by a random change of the signal of a
given share of what samples differ by in it. A change of scale does not touch it. In a sound
network it is about the same at every depth; where each layer amplifies differences, it grows
exponentially towards the input (Yang et al. 2019 of batch normalization behind ReLU: by 1.21 with
each layer).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.plain_paths import measure_norm
from fanin.diagnosis.measurement import Measurement, Signal

GROWN, EXPLODED = 1e3, 1e4
"""The sensitivity at the first layer over that at the last. In 165 small sound models it was at
most 11, and 390 in an Inception of 48 layers, which trains. Stacks of 20, 30 and 50 layers with
batch normalization and ReLU have 60, 500 and 3e4: the loss of the last stays where it is for 300
steps of Adam at each of four learning rates.
"""
MIN_LAYERS = 10
"""Fewer layers do not make it exponential: one step, such as a vector that is repeated over all
places of an image, may change it too.
"""
EVEN = 0.25
"""Each half of the path has at least this share of the growth (of its logarithm)."""


def judge_sensitivity(examination: Examination) -> Iterator[Finding]:
    """F007 where the longest path of layers amplifies small changes from end to end."""
    measurement = examination.measurement
    if measurement is None or not all(one.finite for one in measurement.signals.values()):
        return
    path = [one for one in _find_longest_path(measurement) if _measure_sensitivity(one)]
    if len(path) < MIN_LAYERS:
        return
    first, middle, last = (_measure_sensitivity(path[at]) for at in (0, len(path) // 2, -1))
    growth = first / last
    if growth < GROWN or min(first / middle, middle / last) < growth**EVEN:
        return
    rate = growth ** (1 / (len(path) - 1))
    yield Finding(
        code="F007",
        severity="error" if growth > EXPLODED else "warning",
        where=path[0].name,
        summary=(
            f"Over {len(path)} layers small changes are amplified ×{rate:.3g} a layer: the loss is "
            f"{growth:.2g} times as sensitive to the output of {path[0].name} as to that of "
            f"{path[-1].name}, and gradients explode on the way back."
        ),
        remedy=(
            "Add shortcuts (x + f(x)) around every few layers, or use fewer layers; normalizations "
            "between keep the signal's size, and not that of the gradient."
        ),
        evidence={
            "layers": len(path),
            "growth": growth,
            "growth per layer": rate,
            "sensitivity at the first": first,
            "sensitivity at the last": last,
        },
    )


def _measure_sensitivity(signal: Signal) -> float:
    """The gradient's length times the size of what samples differ by."""
    spread = 1.0 if signal.input_distance is None else signal.input_distance
    return (measure_norm(signal) or 0.0) * signal.rms * spread


def _find_longest_path(measurement: Measurement) -> list[Signal]:
    """The layers on the way to the output that passes most of them."""
    nodes = measurement.graph.nodes
    counts = [0] * len(nodes)
    before: list[int | None] = [None] * len(nodes)
    for node in nodes:
        if node.inputs:
            before[node.index] = max(node.inputs, key=counts.__getitem__)
            counts[node.index] = max(counts[index] for index in node.inputs)
        counts[node.index] += _is_layer(measurement, node.index)
    found = []
    current = measurement.output_node
    while current is not None:
        if _is_layer(measurement, current):
            found.append(measurement.signals[current])
        current = before[current]
    return found[::-1]


def _is_layer(measurement: Measurement, index: int) -> bool:
    signal = measurement.signals.get(index)
    return signal is not None and signal.kind == "layer" and math.isfinite(signal.rms)
