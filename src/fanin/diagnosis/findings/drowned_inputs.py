"""F032 of a parameter, such as learned positions, that is added to a much smaller signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.embeddings import DROWNED
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.patch import Patch
from fanin.structure import Node


def find_drowned_inputs(examination: Examination) -> Iterator[Finding]:
    """One finding for each parameter beside which what it is added to is nothing."""
    measurement = examination.measurement
    if measurement is None:
        return
    told: set[str] = set()
    for node in measurement.graph.nodes:
        signal = _find_summand(measurement, node)
        if signal is None or node.call is None:
            continue
        large = [name for name in _list_large(measurement, node, signal) if name not in told]
        if large:
            told.update(large)
            yield _report(measurement, large, signal)


def _find_summand(measurement: Measurement, node: Node) -> Signal | None:
    """The one signal that a parameter is added to."""
    added = node.call is not None and node.call.parameters and node.call.direct
    if node.kind != "transparent" or "add" not in node.label.lower() or not added:
        return None
    return measurement.signals.get(node.inputs[0]) if len(node.inputs) == 1 else None


def _list_large(measurement: Measurement, node: Node, signal: Signal) -> Iterator[str]:
    assert node.call is not None
    for name in node.call.parameters:
        state = measurement.parameters.get(name)
        is_table = state is not None and len(state.shape) > 1  # a bias shifts a whole layer
        if state is not None and is_table and 0 < signal.rms * DROWNED < state.rms:
            yield name


def _report(measurement: Measurement, names: Sequence[str], signal: Signal) -> Finding:
    size = measurement.parameters[names[0]].rms
    ratio = size / signal.rms
    return Finding(
        code="F032",
        severity="warning",
        where=names[0],
        also=tuple(names[1:]),
        summary=(
            f"{names[0]} ({size:.3g} in rms) is added to the output of {signal.name} "
            f"({signal.rms:.3g}), which is {ratio:.3g} times smaller: at the start the model "
            "hardly sees it."
        ),
        remedy="Give what is added up one scale, such as 'normal(std=0.02)' for both.",
        evidence={"size": size, "size_of_smallest": signal.rms, "ratio": ratio},
        patches=(
            Patch(
                operation="scale", parameters=tuple(names), value=float(f"{signal.rms / size:.3g}")
            ),
        ),
    )
