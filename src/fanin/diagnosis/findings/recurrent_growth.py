"""A recurrent layer whose state grows from step to step: F005."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.plain_paths import find_start
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.patch import Patch

GROWN, EXPLODED = 30.0, 1e4
"""The output's rms over that of the input, or over 1 if that is larger. Gates and tanh bound a
state; a ReLU does not. At 30 the last step's gradient is that much larger at the first.
"""


def judge_recurrent_growth(examination: Examination) -> Iterator[Finding]:
    """F005 of one layer, which no comparison over depth can see."""
    measurement = examination.measurement
    if measurement is None:
        return
    for layer in measurement.layers:
        module = measurement.graph.nodes[layer.node].module
        growth = _measure_growth(measurement, layer)
        if isinstance(module, nn.RNNBase) and growth > GROWN:
            yield _report(measurement, layer, growth)


def _measure_growth(measurement: Measurement, layer: Signal) -> float:
    start = find_start(measurement, layer)
    return layer.rms / max(start.rms if start is not None else 0.0, 1.0)


def _report(measurement: Measurement, layer: Signal, growth: float) -> Finding:
    names = tuple(
        name
        for name, one in measurement.parameters.items()
        if one.layer == layer.name and "weight_hh" in name.rpartition(".")[2]
    )
    return Finding(
        code="F005",
        severity="error" if growth > EXPLODED else "warning",
        where=names[0] if names else layer.name,
        also=(layer.name, *names[1:]) if names else (),
        summary=(
            f"The state of {layer.name} grows from step to step: its outputs are {growth:.2g} "
            "times as large as its inputs."
        ),
        remedy="Draw the recurrent weight orthogonal, so that it keeps lengths, or use tanh.",
        evidence={"rms": layer.rms, "growth": growth},
        patches=(Patch(operation="initialize", parameters=names, initializer="orthogonal"),)
        if names
        else (),
    )
