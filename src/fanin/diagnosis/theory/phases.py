"""Plain paths of a model, and the phase of each at its measured variances."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fanin.diagnosis.theory.forward_record import ForwardMoments
from fanin.diagnosis.theory.layer_maps import LayerMap
from fanin.diagnosis.theory.prediction import PathPhase, Phase
from fanin.diagnosis.theory.settled_state import SettledState, find_settled_state
from fanin.diagnosis.theory.signal_moments import SignalMoments
from fanin.errors import FaninError
from fanin.gains.normal_response import Activation
from fanin.structure import Graph

MIN_LAYERS = 3
"""Shorter paths have no depth to speak of: a perceptron inside a residual block has two layers."""
_ALIKE = 1.5
"""The largest ratio of weight variances that still count as one network's."""
_LEAST = 1e-12
"""χ₁ below it counts as this: layers of zeros."""


@dataclass(frozen=True)
class _Step:
    """The way from one layer back to the one before it."""

    before: int
    activation: Activation | None


def find_phases(
    graph: Graph,
    forward: ForwardMoments,
    growths: Mapping[int, float],
    measured: Mapping[int, SignalMoments],
) -> tuple[PathPhase, ...]:
    """The plain paths of at least `MIN_LAYERS` layers, the longest first."""
    steps = {
        node.index: step
        for node in graph.nodes
        if node.index in growths and (step := _step_back(graph, forward, node.index))
    }
    followed = {step.before for step in steps.values()}
    ends = [index for index in steps if index not in followed]
    paths = [_leave_out_head(_follow(steps, end), forward) for end in ends]
    found = [
        _describe(path, steps, forward, growths, measured)
        for path in paths
        if len(path) >= MIN_LAYERS
    ]
    return tuple(sorted(found, key=lambda path: -path.depth))


def _step_back(graph: Graph, forward: ForwardMoments, index: int) -> _Step | None:
    """The layer before a layer, if nothing but one activation, views and pooling lie between."""
    activation: Activation | None = None
    current = graph.nodes[index].inputs[0]
    while (node := graph.nodes[current]).kind != "layer":
        if current in forward.activations:
            current, activation = forward.activations[current]
            continue
        if node.kind != "transparent" or len(node.inputs) != 1:
            return None
        (current,) = node.inputs
    found = forward.maps.get(current)
    return None if found is None or found.table else _Step(current, activation)


def _follow(steps: Mapping[int, _Step], end: int) -> tuple[int, ...]:
    path = [end]
    while (step := steps.get(path[-1])) is not None:
        path.append(step.before)
    return tuple(reversed(path))


def _leave_out_head(path: tuple[int, ...], forward: ForwardMoments) -> tuple[int, ...]:
    """Without the last layer if that was drawn by a rule of its own, as heads often are: the other
    layers' phase does not depend on it, and its size would only hide theirs.
    """
    maps = [forward.maps[index] for index in path[1:]]
    if len(path) <= MIN_LAYERS or _are_alike(maps) or not _are_alike(maps[:-1]):
        return path
    return path[:-1]


def _describe(
    path: Sequence[int],
    steps: Mapping[int, _Step],
    forward: ForwardMoments,
    growths: Mapping[int, float],
    measured: Mapping[int, SignalMoments],
) -> PathPhase:
    maps = [forward.maps[index] for index in path]
    total = sum(_log(growths[index]) for index in path[1:])
    logarithm = total / (len(path) - 1)
    between = [step.activation for index in path[1:] if (step := steps[index]) is not None]
    names = Counter("linear" if one is None else one.name for one in between)
    settled = None
    if len(names) == 1 and _are_alike(maps[1:]):
        signals = [measured.get(index) or forward.signals[index] for index in path[:-1]]
        settled = _find_settled(between[0], maps[1:], signals)
    depth_scale = 1 / abs(logarithm) if logarithm else math.inf
    chaotic = logarithm > 0
    if chaotic and settled is not None and 0 < settled.slope < 1:
        depth_scale = -1 / math.log(settled.slope)
    phase: Phase = "chaotic" if chaotic else "ordered"
    if abs(total) < 1:
        phase = "critical"
    return PathPhase(
        nodes=tuple(path),
        activation=names.most_common(1)[0][0],
        weight_std=math.exp(sum(_log(one.weight_variance) for one in maps) / len(maps) / 2),
        bias_std=math.sqrt(sum(one.bias_second for one in maps) / len(maps)),
        phase=phase,
        chi=math.exp(logarithm),
        second_moment=None if settled is None else settled.second_moment,
        correlation=None if settled is None else settled.correlation,
        depth_scale=depth_scale,
        gradient_ratio=math.exp(total / 2),
    )


def _find_settled(
    activation: Activation | None, maps: Sequence[LayerMap], signals: Sequence[SignalMoments]
) -> SettledState | None:
    weight = math.exp(sum(_log(one.weight_variance) for one in maps) / len(maps))
    bias = sum(one.bias_second for one in maps) / len(maps)
    near = math.exp(sum(_log(one.second) for one in signals) / len(signals))
    if activation is None:
        return None
    try:
        return find_settled_state(activation, weight, bias, near)
    except FaninError:
        return None


def _are_alike(maps: Sequence[LayerMap]) -> bool:
    variances = [one.weight_variance for one in maps]
    return max(variances) <= _ALIKE * min(variances)


def _log(value: float) -> float:
    return math.log(max(value, _LEAST))
