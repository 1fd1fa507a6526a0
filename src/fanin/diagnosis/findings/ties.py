"""Embeddings that are tied to the head (F033): one table has to suit a lookup and a product.

A row of d numbers from N(0, 1) times a normalized signal of d numbers is a logit of standard
deviation √d: the loss starts at 110 instead of 11, or at 28 for d = 64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.anatomy import Anatomy, WeightState, get_anatomy
from fanin.diagnosis.measurement import Signal
from fanin.diagnosis.patch import Patch
from fanin.structure import Graph, ModelStructure

LARGE = 2.0
"""Logits of this standard deviation σ raise the first loss by about σ²/2 = 2 above ln(classes)."""
RUINOUS = 5.0
"""Here by more than 6 (it grows more slowly then, as the largest logit takes all): the first
hundreds of steps only bring the logits down.
"""
GOOD_STD = 0.02


def find_tied_conflicts(examination: Examination) -> Iterator[Finding]:
    """F033: logits that are too large since the head is the embedding."""
    structure = examination.structure
    if structure is None:
        return
    anatomy = get_anatomy(examination)
    parameters = {state.name: state for state in anatomy.weights}
    for names in structure.ties:
        state = next((parameters[name] for name in names if name in parameters), None)
        heads = _list_heads(structure, names)
        if state is not None and state.use.role == "embedding" and heads:
            found = _measure_logits(anatomy, examination, heads, state)
            if found is not None and found[0] > LARGE:
                yield _describe(state, names, *found)


def _list_heads(structure: ModelStructure, names: tuple[str, ...]) -> list[str]:
    """The layers that share the parameter and compute the output."""
    layers = {name.rpartition(".")[0] for name in names}
    return [one.layer for one in structure.layers if one.layer in layers and "head" in one.roles]


def _measure_logits(
    anatomy: Anatomy, examination: Examination, heads: list[str], state: WeightState
) -> tuple[float, bool] | None:
    """The standard deviation of the logits: as measured, or std · √d behind a normalization."""
    signal = _find_output(examination)
    if signal is not None and signal.finite:
        return signal.std, True
    if anatomy.graph is None:
        return None
    nodes = [node for name in heads for node in anatomy.nodes.get(name, ())]
    factor = _find_input_size(anatomy.graph, nodes[0]) if nodes else None
    width = state.use.layout.shape[1]
    return None if factor is None else (state.draw.std * math.sqrt(width) * factor, False)


def _find_output(examination: Examination) -> Signal | None:
    measurement = examination.measurement
    if measurement is None or measurement.output_node is None:
        return None
    return measurement.signals.get(measurement.output_node)


def _find_input_size(graph: Graph, node: int) -> float | None:
    """The size of a head's input: 1 behind a normalization, times constants; None if it is not
    known.
    """
    size = 1.0
    while graph.nodes[node].inputs:
        node = graph.nodes[node].inputs[0]
        found = graph.nodes[node]
        if found.kind == "normalization":
            return size
        if found.kind != "transparent":
            return None
        if found.target in ("mul", "multiply", "div", "divide", "truediv"):
            constants = (
                [one for one in found.call.args if isinstance(one, int | float)]
                if (found.call is not None)
                else []
            )
            if len(constants) != 1:
                return None
            constant = float(constants[0])
            size *= abs(constant if found.target.startswith("mul") else 1 / constant)
    return None


def _describe(state: WeightState, names: tuple[str, ...], logits: float, measured: bool) -> Finding:
    severity: Severity = "error" if logits > RUINOUS else "warning"
    shared = " and ".join(names)
    return Finding(
        code="F033",
        severity=severity,
        where=state.name,
        also=tuple(name for name in names if name != state.name),
        summary=(
            f"{shared} are one table of standard deviation {state.draw.std:.3g}. That is "
            f"too large for the head: its logits have a standard deviation of {logits:.3g}"
            f"{'' if measured else ' (predicted)'}, where about 1 or less leaves all classes open."
        ),
        remedy=(
            f"Draw the table by 'normal(std={GOOD_STD})', or divide the signal before the head by "
            "the root of its width and multiply the embedding by it."
        ),
        evidence={
            "std": state.draw.std,
            "logit_std": logits,
            "expected_logit_std": f"< {LARGE:g}",
            "width": state.use.layout.shape[1],
            "measured": measured,
        },
        patches=(
            Patch(
                operation="initialize",
                parameters=(state.name,),
                initializer=f"normal(std={GOOD_STD})",
            ),
        ),
    )
