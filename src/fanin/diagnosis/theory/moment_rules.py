"""What a layer and an activation make of the moments of a signal."""

from __future__ import annotations

from fanin.diagnosis.theory.layer_maps import LayerMap
from fanin.diagnosis.theory.signal_moments import TINY, SignalMoments
from fanin.gains.normal_response import Activation

MIN_FAN = 8
"""Terms of a sum from which its distribution is close enough to normal for E f² (error < 2 %)."""


def apply_layer(found: LayerMap, source: SignalMoments, origin: int) -> SignalMoments:
    """q' = fan_in·Var w·q + (fan_in·E w)²·E x̄² + E b², where x̄ is the mean of what meets a unit."""
    fan, variance = found.fan_in, max(found.second - found.mean**2, 0.0)
    average = source.mean**2 + source.variance / max(fan, 1.0)
    weighed = fan * variance * source.second + (fan * found.mean) ** 2 * average
    second = weighed + found.bias_second
    share = weighed / second if second > TINY else 0.0
    return SignalMoments(
        mean=fan * found.mean * source.mean + found.bias_mean,
        second=second,
        difference=None if source.difference is None else found.weight_variance * source.difference,
        drift=share * share * source.spread,
        own=2 / max(found.outputs, 1),
        width=found.outputs,
        normal=fan >= MIN_FAN,
        origins=origin,
        start=source.start,
    )


def apply_activation(activation: Activation, source: SignalMoments) -> SignalMoments:
    """E f² and E f at the moments of what enters."""
    mean, variance = get_law(source)
    response = activation.respond(mean, variance)
    difference = source.difference
    if difference is not None:
        difference = activation.separate(mean, variance, difference)
    return SignalMoments(
        mean=response.mean,
        second=response.second,
        difference=difference,
        drift=response.sensitivity**2 * source.drift,
        own=response.spread / max(source.width, 1),
        width=source.width,
        origins=source.origins,
        start=source.start,
    )


def get_law(signal: SignalMoments) -> tuple[float, float]:
    """Mean and variance of the normal numbers that an activation takes; a mean that does not
    matter is 0, for which there are closed forms.
    """
    if signal.mean * signal.mean < 1e-6 * signal.variance:
        return 0.0, signal.second
    return signal.mean, max(signal.variance, TINY)
