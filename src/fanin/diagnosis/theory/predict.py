"""What theory says of a model whose signals were measured: `predict`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.theory.backward_moments import BackwardMoments, BackwardPredictor
from fanin.diagnosis.theory.forward_moments import ForwardPredictor
from fanin.diagnosis.theory.forward_record import ForwardMoments
from fanin.diagnosis.theory.growths import find_growths
from fanin.diagnosis.theory.layer_maps import LayerReader
from fanin.diagnosis.theory.phases import find_phases
from fanin.diagnosis.theory.prediction import PredictedSignal, Prediction
from fanin.diagnosis.theory.signal_moments import TINY, SignalMoments
from fanin.structure import Graph, list_bare_names
from fanin.structure.tensor_moments import Shapes

_LARGEST_SPREAD = 4.0
"""The variance of ln q beyond which a prediction says nothing: a factor of e² either way."""


def predict(model: nn.Module, measurement: Measurement) -> Prediction:
    """Predict signals and gradients by depth from the measured weights, the measured input, and
    the measured gradient at the output.

    Second moments pass through layers as q' = σ_w² q + σ_b² with σ_w² = fan_in · E w² of the
    actual weights, through activations as E f² of normal numbers, through normalizations as γ²;
    those of independent summands add up, those of factors multiply. On the way back a layer
    multiplies by fan_out · E w² and an activation by E f'² at the measured variance. Where theory
    has no rule (attention, recurrent layers, pooling, an activation of numbers that are not normal)
    the prediction is None and starts anew from what was measured.

    The model is only read. Sources: Poole et al. 2016 (https://arxiv.org/abs/1606.05340),
    Schoenholz et al. 2017 (https://arxiv.org/abs/1611.01232); the spread of narrow networks: Hanin
    and Rolnick 2018 (https://arxiv.org/abs/1803.01719).
    """
    graph = measurement.graph
    measured = _read_signals(measurement)
    known = {index: one.shape for index, one in _list(measurement)} | dict(measurement.shapes)
    shapes = _complete_shapes(graph, known)
    layers = LayerReader(model, shapes, _read_weights(model, measurement))
    forward = ForwardPredictor(graph, model, measured, shapes, layers).predict()
    backward = BackwardPredictor(
        graph, forward, _read_gradients(measurement), measured, shapes, measurement.output_node
    ).predict()
    growths = find_growths(graph, forward, shapes)
    return Prediction(
        signals={
            node.index: _describe(node.index, forward, backward, growths.get(node.index))
            for node in graph.nodes
        },
        phases=find_phases(graph, forward, growths, measured),
        notes=tuple(_list_notes(graph, forward)),
    )


def _list(measurement: Measurement) -> list[tuple[int, Signal]]:
    """The measured signals by node; those of inputs may be known by name only."""
    found = dict(measurement.signals)
    for node in measurement.graph.nodes:
        if node.kind == "input" and node.index not in found:
            given = measurement.batch_stats.get(node.target)
            if given is not None:
                found[node.index] = given
    return sorted(found.items())


def _read_signals(measurement: Measurement) -> dict[int, SignalMoments]:
    found = {}
    for index, one in _list(measurement):
        second = one.rms**2
        if not one.finite or not math.isfinite(second) or not math.isfinite(one.mean):
            continue
        gap = one.input_distance
        found[index] = SignalMoments(
            mean=one.mean,
            second=second,
            difference=None if gap is None or not math.isfinite(gap) else gap * gap * second,
            width=one.units or 1,
            start=index,
        )
    return found


def _read_gradients(measurement: Measurement) -> dict[int, float]:
    return {
        index: one.gradient_rms**2
        for index, one in measurement.signals.items()
        if one.gradient_rms is not None and one.gradient_finite
        if math.isfinite(one.gradient_rms)
    }


def _read_weights(model: nn.Module, measurement: Measurement) -> dict[int, tuple[float, float]]:
    """E w² and E w of each parameter by its id."""
    names = list_bare_names(model)
    found = {}
    for name, parameter in model.named_parameters():
        state = measurement.parameters.get(names[name])
        if state is not None and state.finite and parameter.numel():
            found[id(parameter)] = state.rms**2, state.mean
    return found


def _complete_shapes(graph: Graph, shapes: Mapping[int, tuple[int, ...]]) -> Shapes:
    """The shape of a step that gave several tensors, such as a split, is that of its input."""
    found = dict(shapes)
    for node in graph.nodes:
        if node.index not in found and node.kind == "transparent" and len(node.inputs) == 1:
            before = found.get(node.inputs[0])
            if before is not None:
                found[node.index] = before
    return found


def _describe(
    index: int, forward: ForwardMoments, backward: BackwardMoments, growth: float | None
) -> PredictedSignal:
    signal, gradient = forward.signals.get(index), backward.gradients.get(index)
    reason, gradient_reason = forward.reasons.get(index, ""), backward.reasons.get(index, "")
    if signal is not None and not reason and signal.spread > _LARGEST_SPREAD:
        reason = "too narrow for its depth: draws of the weights differ by more than a factor of 7"
    if gradient is not None and not gradient_reason and gradient.uncertainty > _LARGEST_SPREAD:
        gradient_reason = "too narrow, or too often normalized, for its depth"
    known = signal is not None and not reason
    returned = gradient is not None and not gradient_reason
    gap = _get_distance(signal) if signal is not None and known else None
    return PredictedSignal(
        node=index,
        predicted_rms=math.sqrt(signal.second) if signal is not None and known else None,
        spread=math.sqrt(signal.spread) / 2 if signal is not None and known else None,
        start=signal.start if signal is not None and known else None,
        predicted_similarity=None if gap is None else 1 - gap * gap,
        predicted_distance=gap,
        predicted_gradient_rms=math.sqrt(gradient.second)
        if gradient is not None and returned
        else None,
        gradient_spread=math.sqrt(gradient.uncertainty) / 2
        if gradient is not None and returned
        else None,
        gradient_start=gradient.start if gradient is not None and returned else None,
        predicted_gradient_growth=growth,
        reason=reason,
        gradient_reason=gradient_reason,
    )


def _get_distance(signal: SignalMoments) -> float | None:
    if signal.difference is None or signal.second <= TINY:
        return None
    return math.sqrt(min(signal.difference / signal.second, 2.0))


def _list_notes(graph: Graph, forward: ForwardMoments) -> list[str]:
    """Why whole kinds of steps are not predicted, each reason once with how often it occurs."""
    counts: dict[str, int] = {}
    for index, reason in forward.reasons.items():
        if graph.nodes[index].kind not in ("input", "output", "other") and index in forward.signals:
            counts[reason] = counts.get(reason, 0) + 1
    return [
        f"theory starts anew after {count} step{'s' if count > 1 else ''}: {reason}"
        for reason, count in counts.items()
    ]
