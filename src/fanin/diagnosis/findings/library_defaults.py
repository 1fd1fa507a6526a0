"""Layers that start from torch's default (F036): U(±1/√fan-in) for weight and bias.

It is no initializer that anybody derived: its variance times the fan-in is 1/3, and it is kept so
that old code gives old results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.rnn import RNNBase, RNNCellBase

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, WeightState, get_anatomy
from fanin.diagnosis.findings.fan_axes import find_wrong_axes
from fanin.diagnosis.findings.wrong_gains import find_wrong_gains
from fanin.fans import get_tensor_layout

BOUND = 1e-6
"""Relative: no number of the default lies beyond its bound, but for rounding."""
FULL = 0.9
"""The largest of 32 numbers or more lies above 0.9 times the bound, but once in thirty times."""
COMMON = 0.5
"""From this share of the layers on, the default is what the model starts from, and no accident."""


def find_library_defaults(examination: Examination) -> Iterator[Finding]:
    """F036, one note for the model, without layers that a stronger finding is about."""
    anatomy = get_anatomy(examination)
    layers = [state for state in anatomy.weights if state.use.role != "embedding"]
    found = [state for state in layers if _is_default(anatomy, state)]
    if not found:
        return
    named = {
        place
        for judge in (find_wrong_axes, find_wrong_gains)
        for finding in judge(examination)
        if finding.severity != "note" or finding.code == "F025"
        for place in finding.places
    }
    names = tuple(state.name for state in found if state.name not in named)
    if not names or len(names) < COMMON * len(layers):
        return
    first = next(state for state in found if state.name == names[0])
    yield Finding(
        code="F036",
        severity="note",
        where=names[0],
        also=names[1:],
        summary=(
            f"{len(names)} of {len(layers)} weights start from torch's default U(±1/√fan-in): "
            f"variance · fan-in is 1/3, where a linear layer needs 1 and one before a ReLU 2."
        ),
        remedy=(
            "Before a normalization, or in a shallow network, this costs nothing. Otherwise choose "
            "an initializer: fanin.initialize(model, 'auto', seed=…)."
        ),
        evidence={
            "weights": len(names),
            "of": len(layers),
            "std": first.draw.std,
            "variance_times_fan_in": 1 / 3,
        },
    )


def _is_default(anatomy: Anatomy, state: WeightState) -> bool:
    bound = _find_bound(state)
    if not bound or state.draw.kind not in ("uniform", "other"):
        return False
    if not FULL * bound < state.draw.maximum <= bound * (1 + BOUND):
        return False
    return state.draw.equals(bound / math.sqrt(3)) and _has_default_bias(state, bound)


def _find_bound(state: WeightState) -> float:
    """1/√fan-in, with the fan-in that torch computes; 1/√hidden of recurrent layers."""
    module = state.use.module
    if isinstance(module, RNNBase | RNNCellBase):
        return 1 / math.sqrt(module.hidden_size)
    seen = get_tensor_layout(state.use.layout.shape).fans
    return 1 / math.sqrt(seen.fan_in) if seen is not None and seen.fan_in else 0.0


def _has_default_bias(state: WeightState, bound: float) -> bool:
    """Whether the layer's bias, if it has one, was drawn from the same distribution."""
    bias = getattr(state.use.module, "bias", None)
    if not isinstance(bias, nn.Parameter):
        return True
    return bool(bias.numel()) and 0 < float(bias.detach().abs().max()) <= bound * (1 + BOUND)
