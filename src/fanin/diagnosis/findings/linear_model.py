"""Layers with nothing between them: F051."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import Measurement
from fanin.structure import Node
from fanin.structure.signal_graph import is_lookup

_MOVES = ("transparent",)
_CURVED = ("max", "min", "sort", "median", "topk", "norm", "cos", "sin")
"""Parts of the names of functions that move numbers, and are not linear in them."""


def judge_linear_model(examination: Examination) -> Iterator[Finding]:
    """A model of several layers none of which is followed by anything that is not linear."""
    measurement = examination.measurement
    if measurement is None or len(measurement.layers) < 2:
        return
    between = _list_between(measurement)
    if not between or not all(_is_linear(node) for node in between):
        return
    layers = [one.name for one in measurement.layers if not _is_table(measurement, one.node)]
    if len(set(layers)) < 2:
        return
    yield Finding(
        code="F051",
        severity="warning",
        where=layers[0],
        also=tuple(dict.fromkeys(layers[1:])),
        summary=(
            f"Nothing but linear steps lies between the {len(layers)} layers: together they are "
            "one linear layer, however many there are."
        ),
        remedy="Put an activation, such as ReLU or GELU, after each layer but the last.",
        evidence={"layers": len(layers)},
    )


def _list_between(measurement: Measurement) -> list[Node]:
    """The nodes before the last layer, but for inputs."""
    last = max(one.node for one in measurement.layers)
    return [
        node
        for node in measurement.graph.nodes
        if node.index < last and node.kind not in ("input", "output")
    ]


def _is_table(measurement: Measurement, index: int) -> bool:
    return is_lookup(measurement.graph.nodes[index])


def _is_linear(node: Node) -> bool:
    if node.kind == "layer":
        # A recurrent layer and attention are not linear. A table of embeddings is, in the indices
        # as one-hot codes.
        return is_lookup(node) or any(
            base.__name__ in ("Linear", "_ConvNd", "Conv1D") for base in type(node.module).__mro__
        )
    name = node.label.lower()
    return node.kind in (*_MOVES, "add") and not any(part in name for part in _CURVED)
