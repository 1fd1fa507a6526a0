"""F054: biases of hidden layers that outweigh what the weights make of the input.

An activation decides by the sum of both. With a large bias a ReLU is on, or off, for nearly all
inputs, and the samples look alike to what follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from fanin.apply.model_parameters import ParameterUse
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, get_anatomy, read_values
from fanin.diagnosis.findings.plain_layers import is_last_layer
from fanin.diagnosis.findings.quick_moments import KnownActivation
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.patch import Patch

CODE = "F054"

LARGE = 2.0
"""The rms of the biases of one layer. Those of 178 sound models are below 0.7, but for gates, time
steps and last layers, which are not judged."""
OUTWEIGHED = 1.5
"""Times what differs from sample to sample."""
COMMON = 0.5
"""The size of one constant that all hidden layers have, from which on it was set for all alike."""
MIN_LAYERS = 2
_SHIFTING = ("sigmoid", "hardsigmoid", "softplus", "softmax", "exp")
"""The biases before these set where a gate, a rate or a share starts."""


@dataclass(frozen=True)
class _Bias:
    use: ParameterUse
    values: Tensor
    rms: float
    varying: float | None
    """The part of the layer's output that differs from sample to sample, as an rms."""

    @property
    def constant(self) -> bool:
        return bool((self.values == self.values[0]).all())


def find_hidden_biases(examination: Examination) -> Iterator[Finding]:
    """One finding for all layers."""
    measurement = examination.measurement
    if measurement is None:
        return
    anatomy = get_anatomy(examination)
    biases = list(_list_biases(anatomy, measurement))
    found = [one for one in biases if _outweighs(one)] or _list_common(biases)
    if found:
        yield _report(found)


def _list_biases(anatomy: Anatomy, measurement: Measurement) -> Iterator[_Bias]:
    for use in anatomy.uses:
        values = read_values(use) if use.role == "bias" and not use.layout.parts else None
        if values is None or values.dim() != 1 or not _is_hidden(anatomy, use):
            continue
        signal = measurement.get_layer(anatomy.get_layer(use))
        varying = None
        if signal is not None and signal.input_distance is not None:
            varying = signal.input_distance * signal.rms
        rms = float(values.float().square().mean().sqrt())
        if math.isfinite(rms):
            yield _Bias(use, values, rms, varying)


def _is_hidden(anatomy: Anatomy, use: ParameterUse) -> bool:
    """Whether an activation that is no gate, or another layer, takes the output as it is."""
    follower, graph = anatomy.get_follower(use), anatomy.graph
    if follower is None or graph is None or follower.kind not in ("activation", "linear"):
        return False
    if KnownActivation(follower.activation).name.lower() in _SHIFTING:
        return False
    nodes = anatomy.nodes.get(anatomy.get_layer(use), ())
    return bool(nodes) and not is_last_layer(graph, nodes[-1])


def _outweighs(bias: _Bias) -> bool:
    return bias.rms >= LARGE and bias.varying is not None and bias.rms > OUTWEIGHED * bias.varying


def _list_common(biases: Sequence[_Bias]) -> list[_Bias]:
    """All of them, if they have the same constant."""
    if len(biases) < MIN_LAYERS or not all(one.constant for one in biases):
        return []
    values = {float(one.values[0]) for one in biases}
    return list(biases) if len(values) == 1 and abs(values.pop()) >= COMMON else []


def _report(found: Sequence[_Bias]) -> Finding:
    worst = max(found, key=lambda one: one.rms)
    names = tuple(dict.fromkeys([worst.use.bare_name, *(one.use.bare_name for one in found)]))
    beside = "" if worst.varying is None else f", where {worst.varying:.3g} differs between samples"
    return Finding(
        code=CODE,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"The biases of {names[0]} start at a size of {worst.rms:.3g}{beside}: they decide "
            "what is on and off, more than the input does."
        ),
        remedy="Start biases of hidden layers at 0.",
        evidence={"bias rms": worst.rms, "varying rms": worst.varying, "biases": len(names)},
        patches=(Patch(operation="set", parameters=names, value=0.0),),
    )
