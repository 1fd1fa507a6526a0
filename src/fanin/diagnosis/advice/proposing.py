"""Patches for findings whose judge has none: what is off among the parameters that could cause it.

A judge of signals and gradients sees that something is wrong and where it shows. What a program can
change are the parameters on the way:

| finding | proposed |
|---|---|
| signals or gradients die, explode or saturate, samples become alike | weights on the same plain \
path whose standard deviation is not that of the rule for what follows them, drawn anew |
| the same | weights that are constant, drawn anew |
| saturated units | large biases of the layers before them set to 0 |
| dead units, parameters that never learn | large biases set to 0; if there are none, as above, \
and weights of zeros too |

A path whose weights have the right scale gets no patch, nor does a stack of sigmoids whose weights
are too small, which no scale repairs: there the code must change (another activation,
normalization, fewer layers). `fix` finds out whether a proposal helps.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from torch import nn

from fanin import gains
from fanin.apply import ParameterRecord, collect_unfilled, initialize
from fanin.diagnosis.advice.remedies import list_roles, suggest_weights
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import Measurement, ParameterState
from fanin.diagnosis.patch import Patch
from fanin.errors import FaninError, UsageError
from fanin.structure import Follower, find_graph_followers

DRIFT = ("F001", "F003", "F004", "F005", "F006", "F007", "F008", "F009", "F010", "F011")
"""Findings that the scale of weights causes."""
SILENCE = ("F002", "F023")
"""Findings that constant weights and large biases cause as well."""

BIASED = ("F003",)
"""Findings that a large bias of the layer that they name causes."""

OFF_SCALE = 1.1
"""A standard deviation that is off by this factor counts: over ten layers it is 2.6."""
LARGE_BIAS = 0.5
"""rms of a bias beside signals of unit size, from which on it decides which units are on."""
MIN_PLAIN = 3
"""Layers on a plain path; in shorter ones normalizations and shortcuts repair what weights do."""


def complete_findings(examination: Examination, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings, with proposed patches where their judge has none."""
    return tuple(
        finding
        if finding.patches
        else replace(finding, patches=propose_patches(examination, finding))
        for finding in findings
    )


def propose_patches(examination: Examination, finding: Finding) -> tuple[Patch, ...]:
    """What might repair a finding; empty if nothing that a patch changes is off."""
    measurement = examination.measurement
    if measurement is None or finding.severity == "note":
        return ()
    if finding.code not in (*DRIFT, *SILENCE):
        return ()
    silent = finding.code in SILENCE
    biased = silent or finding.code in BIASED
    biases = tuple(_propose_biases(measurement, finding, anywhere=silent)) if biased else ()
    if biases:
        return biases
    try:
        return _propose_weights(examination.model, measurement, finding, zeros=silent)
    except FaninError:  # a model whose layers cannot be read: nothing to propose
        return ()


def _propose_weights(
    model: nn.Module, measurement: Measurement, finding: Finding, *, zeros: bool
) -> tuple[Patch, ...]:
    followers = find_graph_followers(measurement.graph)
    patches = suggest_weights(model, measurement.graph, followers)
    records = _preview(model, patches)

    def is_wrong(name: str) -> bool:
        state, record = measurement.parameters.get(name), records.get(name)
        if state is None or record is None or not state.trainable:
            return False
        if not state.finite:
            return True  # wherever it lies
        layer = name.rpartition(".")[0]
        follower = followers.get(layer)
        near = _is_on_plain_path(follower) or (layer in finding.places and not _is_last(follower))
        return _is_constant(state, zeros=zeros) or (near and _is_off_scale(state, record, follower))

    chosen = (
        replace(patch, parameters=tuple(filter(is_wrong, patch.parameters))) for patch in patches
    )
    return tuple(patch for patch in chosen if patch.parameters)


def _is_on_plain_path(follower: Follower | None) -> bool:
    """Whether its weights alone must keep the size of signals; the last layer's need not."""
    if follower is None:
        return False
    return follower.plain_depth >= MIN_PLAIN and follower.kind in ("activation", "linear")


def _preview(model: nn.Module, patches: Sequence[Patch]) -> dict[str, ParameterRecord]:
    """What `fanin.initialize` would draw, by bare name."""
    rules = {name: patch.initializer for patch in patches for name in patch.parameters}
    if not rules:
        return {}
    with collect_unfilled():
        record = initialize(
            model, rules, default="keep", only=list(rules), loaded={}, seed=0, preview=True
        )
    return {one.name: one for one in record}


def _is_last(follower: Follower | None) -> bool:
    """Whether the output follows: the size of a last layer is the task's matter."""
    return follower is not None and follower.kind == "output"


def _is_constant(state: ParameterState, *, zeros: bool) -> bool:
    """Whether all numbers are equal; zeros are often meant, and count if they are asked for."""
    return state.std == 0 and math.prod(state.shape) > 1 and (zeros or state.rms > 0)


def _is_off_scale(
    state: ParameterState, record: ParameterRecord, follower: Follower | None
) -> bool:
    """Whether the standard deviation is not the one that the rule intends, and that would help."""
    if not record.intended_std or state.std == 0:
        return False
    ratio = state.std / record.intended_std
    if ratio < 1 and _is_hopeless(follower):
        return False
    return not (state.finite and 1 / OFF_SCALE < ratio < OFF_SCALE)


def _is_hopeless(follower: Follower | None) -> bool:
    """Whether no gain lets a signal and its gradient through even one layer with this activation,
    as with sigmoid: larger weights then only ease what another activation would cure.
    """
    if follower is None or follower.activation is None or follower.plain_depth < MIN_PLAIN:
        return False
    try:
        return gains.critical_gain(follower.activation).depth == 0
    except UsageError:
        return False


def _propose_biases(
    measurement: Measurement, finding: Finding, *, anywhere: bool
) -> Iterator[Patch]:
    """Large biases of the layers where it shows, or anywhere if they have none."""
    large = list(_find_large_biases(measurement))
    near = [name for name in large if name.rpartition(".")[0] in finding.places]
    chosen = near or (large if anywhere else [])
    if chosen:
        yield Patch(operation="set", parameters=tuple(chosen), value=0.0)


def _find_large_biases(measurement: Measurement) -> Iterator[str]:
    nodes = {node.target: node.module for node in measurement.graph.nodes if node.kind == "layer"}
    for layer, module in nodes.items():
        if module is None:
            continue
        names = set(_list_biases(module, layer))
        for name, state in measurement.parameters.items():
            if name in names and state.trainable and state.rms > LARGE_BIAS:
                yield name


def _list_biases(module: nn.Module, layer: str) -> Collection[str]:
    prefix = f"{layer}." if layer else ""
    return [prefix + local for local, role in list_roles(module) if role == "bias"]
