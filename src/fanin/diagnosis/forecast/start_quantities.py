"""The few numbers of a start that a forecast is made from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.findings.plain_paths import measure_norm
from fanin.diagnosis.forecast.linear_readout import measure_readout
from fanin.diagnosis.measurement import Measurement, ParameterState, Signal

_LEAST, _MOST = 1e-30, 1e30
"""What is smaller or larger, zero, or no number, counts as this."""


@dataclass(frozen=True, kw_only=True)
class StartQuantities:
    """Numbers of one start; none of them depends on the optimizer."""

    layers: int
    """The layers on the way to the output."""
    difference: float
    """How different samples are at the layer where they are most alike, as
    `Signal.input_distance`: 0 if all are the same, about 1 if they have nothing in common."""
    signal: float
    """The rms of the last hidden layer's output over that of the first."""
    gradient: float
    """The length of the gradient at the first layer's output over that at the last one's."""
    least_effect: float
    """By how much the loss changes with a relative change of a weight, ‖∂L/∂W‖·‖W‖, over the loss
    of a model that knows nothing: that of the weight with the smallest."""
    most_effect: float
    """The same of the weight with the largest."""
    unevenness: float
    """The standard deviation of ln(gradient rms / weight rms) over the weights: how unlike one
    learning rate moves them."""
    loss: float
    """The loss over that of a model that knows nothing."""
    saturated: float
    """The mean share of saturated numbers of bounded activations."""
    depth_scales: float
    """Theory: how many depth scales fit into the longest plain path; 0 without such a path."""
    readout: float | None
    """How much of the target a linear reading of the last layer's input tells of samples left out
    (`measure_readout`)."""


def measure_quantities(examination: Examination, measurement: Measurement) -> StartQuantities:
    """The quantities of an examined model."""
    layers = list_reached_layers(measurement)
    weights = [
        one
        for one in measurement.parameters.values()
        if one.trainable and one.reached and len(one.shape) > 1
    ]
    scale = _get_scale(measurement)
    effects = [_limit(_measure_effect(one) / scale) for one in weights] or [_LEAST]
    hidden = layers[:-1] or layers
    prediction = examination.prediction
    phase = prediction.phase if prediction is not None else None
    return StartQuantities(
        layers=len(layers),
        difference=min((_limit(one.input_distance) for one in layers), default=_LEAST),
        signal=_divide(hidden[-1].rms, hidden[0].rms) if hidden else 1.0,
        gradient=_compare_gradients(layers),
        least_effect=min(effects),
        most_effect=max(effects),
        unevenness=_measure_spread(one.gradient_ratio for one in weights),
        loss=_measure_loss(measurement, scale),
        saturated=_average(measurement),
        depth_scales=min(phase.gradient_scales, _MOST) if phase is not None else 0.0,
        readout=measure_readout(examination, measurement),
    )


def list_reached_layers(measurement: Measurement) -> Sequence[Signal]:
    """The layers that the output is computed from; all, if its node is unknown."""
    ancestors = measurement.list_ancestors()
    found = [one for one in measurement.layers if one.node in ancestors]
    return found or measurement.layers


def _get_scale(measurement: Measurement) -> float:
    """The loss of a model that knows nothing; the loss itself if that is not known."""
    state = measurement.loss
    for value in (state.uninformed, state.value):
        if value is not None and math.isfinite(value) and value > 0:
            return value
    return 1.0


def _measure_effect(state: ParameterState) -> float:
    if state.gradient_rms is None:
        return 0.0
    return state.gradient_rms * state.rms * math.prod(state.shape)


def _compare_gradients(layers: Sequence[Signal]) -> float:
    lengths = [one for one in map(measure_norm, layers) if one is not None]
    return _divide(lengths[0], lengths[-1]) if lengths else 1.0


def _measure_spread(ratios: Iterable[float | None]) -> float:
    logs = [math.log(_limit(one)) for one in ratios]
    if not logs:
        return 0.0
    mean = sum(logs) / len(logs)
    return math.sqrt(sum((one - mean) ** 2 for one in logs) / len(logs))


def _measure_loss(measurement: Measurement, scale: float) -> float:
    value = measurement.loss.value
    return _MOST if value is None or not measurement.loss.finite else _limit(value / scale)


def _average(measurement: Measurement) -> float:
    shares = [one.saturated for one in measurement.signals.values() if one.saturated is not None]
    return sum(shares) / len(shares) if shares else 0.0


def _divide(value: float, by: float) -> float:
    return _limit(_limit(value) / _limit(by))


def _limit(value: float | None) -> float:
    """A positive finite number."""
    if value is None or math.isnan(value):
        return _LEAST
    return min(max(value, _LEAST), _MOST)
