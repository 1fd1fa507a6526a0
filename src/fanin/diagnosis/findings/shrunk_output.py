"""F004 between the last layer and the output: a small constant that everything is multiplied by.

The last layer then has to grow by its inverse before the model can predict anything, and all
gradients are smaller by the same factor.
"""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.signal_paths import multiply_constant
from fanin.diagnosis.measurement import Measurement, Signal

SMALL = 0.05
"""Outputs are usually made for targets, or logits, of about 1."""


def find_shrunk_output(examination: Examination) -> Iterator[Finding]:
    """F004, if the output is the last layer's times a small constant."""
    measurement = examination.measurement
    if measurement is None or measurement.loss.value is None:
        return
    found = find_output_factor(measurement)
    if found is None or not 0 < abs(found[1]) < SMALL:
        return
    layer, factor = found
    yield Finding(
        code="F004",
        severity="warning",
        where=layer.name,
        summary=(
            f"What {layer.name} puts out is multiplied by {factor:.3g} before it is the output: "
            f"it has to grow {1 / abs(factor):.3g}-fold before the model predicts anything."
        ),
        remedy="Leave the factor out: a larger last layer would learn as slowly.",
        evidence={"factor": factor, "rms of the layer": layer.rms},
    )


def find_output_factor(measurement: Measurement) -> tuple[Signal, float] | None:
    """The last layer, and the constant that its output is multiplied by; None if anything else lies
    between it and the output.
    """
    graph = measurement.graph
    if measurement.output_node is None:
        return None
    node, factor = graph.nodes[measurement.output_node], 1.0
    while node.kind == "transparent" and len(node.inputs) == 1:
        if node.call is not None and node.call.parameters:
            return None  # a learned scale grows by itself
        known = multiply_constant(factor, node)
        if known is None:
            return None
        factor, node = known, graph.nodes[node.inputs[0]]
    signal = measurement.signals.get(node.index)
    return (signal, factor) if node.kind == "layer" and signal is not None else None
