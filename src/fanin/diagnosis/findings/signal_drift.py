"""How signals and gradients change along plain paths: F004, F005, F006, F007, F010."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.plain_paths import PlainPath, find_plain_paths, measure_norm
from fanin.diagnosis.measurement import Measurement

VANISHED_SIGNAL, WEAK_SIGNAL = 1e-4, 0.02
"""The rms of the last layer over what the path was given. Of 37 small models that train well the
least was 0.07; a path that loses a factor 50 leaves later layers to their biases.
"""
BIASED = 0.5
"""The rms of the last bias over that of the output from which on the bias may be all there is."""
SMALL_HEAD = 0.1
"""If so much of the signal is left before the last layer, that layer alone is small."""
EXPLODED_SIGNAL, STRONG_SIGNAL = 1e4, 100.0
"""As above. With default learning rates steps are as large as weights, and outputs grow with the
product of all layers.
"""
VANISHED_GRADIENT, WEAK_GRADIENT = 1e-4, 1e-3
"""The length of the gradient at the first layer's output over that at the last. In models that
train well it was at least 0.015; in stacks of nine sigmoids 1e-5.
"""
EXPLODED_GRADIENT, STRONG_GRADIENT = 1e5, 1e3
"""The same, upside down."""
SAME_INPUTS, SIMILAR_INPUTS = 1e-4, 5e-3
"""How different the samples still are at the last layer, relative to the size of the signal and to
how different they were. float32 tells numbers apart that differ by 1e-7 of their size.
"""
MIN_LAYERS = 3
"""A path of fewer layers has nothing to lose step by step."""


def judge_drift(examination: Examination) -> Iterator[Finding]:
    """Signals and gradients that die or explode between the ends of a plain path."""
    measurement = examination.measurement
    if measurement is None or any(not one.finite for one in measurement.signals.values()):
        return  # F001 says so
    paths = [_drop_zero_ends(measurement, one) for one in find_plain_paths(measurement)]
    for path in sorted(paths, key=lambda one: -len(one.layers))[:1]:
        if len(path.layers) >= MIN_LAYERS:
            yield from _judge_path(path, _read_end(measurement, path))


def _drop_zero_ends(measurement: Measurement, path: PlainPath) -> PlainPath:
    """The path without last layers whose weights are exactly 0: a start that is often meant."""
    layers = list(path.layers)
    while layers:
        weight = measurement.parameters.get(f"{layers[-1].name}.weight")
        if weight is None or weight.rms > 0:
            break
        layers.pop()
    return replace(path, layers=tuple(layers))


def _read_end(measurement: Measurement, path: PlainPath) -> float:
    """The size of the last layer's output without its bias, as far as the bias hides it.

    What samples differ by comes through the weights, so that it is the same share of their part of
    the output as it was of the layer's input.
    """
    last, before = path.last, path.layers[-2]
    bias = measurement.parameters.get(f"{last.name}.bias")
    if bias is None or bias.rms < BIASED * last.rms:
        return last.rms
    if last.input_distance is None or not before.input_distance:
        return last.rms
    return min(last.rms, last.rms * last.input_distance / before.input_distance)


def _judge_path(path: PlainPath, end: float) -> Iterator[Finding]:
    collapse = _judge_distance(path)
    signal = _judge_signal(path, end)
    gradient = _judge_gradient(path)
    yield from (one for one in (gradient, signal, collapse) if one is not None)


def _judge_signal(path: PlainPath, end: float) -> Finding | None:
    start = path.start.rms if path.start is not None and path.start.rms else path.layers[0].rms
    hidden = path.layers
    if not start or not end:
        return None
    ratio = end / start
    layer_count = len(hidden)
    rate = ratio ** (1 / layer_count)
    inner = path.layers[-2].rms / start
    if ratio < WEAK_SIGNAL and inner > SMALL_HEAD:
        return None  # the last layer alone is small: policies and residual branches often end so
    if ratio < WEAK_SIGNAL:
        severity: Severity = "error" if ratio < VANISHED_SIGNAL else "warning"
        hidden_by = "; what is put out is the last bias" if end < path.last.rms else ""
        return _report(
            "F004",
            severity,
            _find_worst(path, smallest=True),
            f"Over {layer_count} layers the signal shrinks to {ratio:.2g} of its size, "
            f"×{rate:.2g} a layer{hidden_by}.",
            "Give the weights the gain of the activation that follows (fanin.initialize(model, "
            "'auto', seed=0)).",
            {
                "rms at the start": start,
                "rms at the end": path.last.rms,
                "rms at the end without the bias": end,
                "ratio": ratio,
            },
        )
    top = max(one.rms for one in hidden) / start
    if top > STRONG_SIGNAL:
        severity = "error" if top > EXPLODED_SIGNAL else "warning"
        return _report(
            "F005",
            severity,
            _find_worst(path, smallest=False),
            f"Over {layer_count} layers the signal grows to {top:.2g} times its size, "
            f"×{rate:.2g} a layer.",
            "Give the weights the gain of the activation that follows (fanin.initialize(model, "
            "'auto', seed=0)), or put normalizations between.",
            {"rms at the start": start, "largest rms": top * start, "ratio": top},
        )
    return None


def _judge_gradient(path: PlainPath) -> Finding | None:
    first, last = measure_norm(path.layers[0]), measure_norm(path.last)
    if not first or not last:
        return None  # exact zeros are judged by what becomes of them
    ratio = first / last
    steps = len(path.layers) - 1
    inner = measure_norm(path.layers[-2])
    if ratio < WEAK_GRADIENT and inner and first / inner > SMALL_HEAD:
        return None  # the last layer alone is small
    if ratio < WEAK_GRADIENT:
        return _report(
            "F006",
            "error" if ratio < VANISHED_GRADIENT else "warning",
            path.layers[0].name,
            f"The gradient at the first of {len(path.layers)} layers is {ratio:.2g} of that at the "
            f"last, ×{ratio ** (1 / steps):.2g} a layer: the first layers hardly learn.",
            "Draw the weights with the gain of the activation that follows; else use an activation "
            "that keeps gradients (ReLU, GELU, tanh), normalizations or shortcuts.",
            {"gradient at the first": first, "gradient at the last": last, "ratio": ratio},
        )
    if ratio > STRONG_GRADIENT:
        return _report(
            "F007",
            "error" if ratio > EXPLODED_GRADIENT else "warning",
            path.layers[0].name,
            f"The gradient at the first of {len(path.layers)} layers is {ratio:.2g} times that at "
            f"the last, ×{ratio ** (1 / steps):.2g} a layer.",
            "Smaller weights (the gain of the activation), or normalizations between.",
            {"gradient at the first": first, "gradient at the last": last, "ratio": ratio},
        )
    return None


def _judge_distance(path: PlainPath) -> Finding | None:
    start = path.start if path.start is not None else path.layers[0]
    before = start.input_distance or path.layers[0].input_distance
    after = path.last.input_distance
    if not before or after is None or not path.last.rms:
        return None
    ratio = after / before
    if ratio >= SIMILAR_INPUTS:
        return None
    return _report(
        "F010",
        "error" if ratio < SAME_INPUTS else "warning",
        path.last.name,
        f"After {len(path.layers)} layers the outputs for different samples differ by "
        f"{after:.2g} of their size (the inputs by {before:.2g}): the model no longer tells them "
        "apart.",
        "Use weights at the edge between order and chaos for this activation, "
        "normalizations, shortcuts, or fewer layers.",
        {"difference at the start": before, "difference at the end": after, "ratio": ratio},
    )


def _find_worst(path: PlainPath, *, smallest: bool) -> str:
    """The layer that changes the signal's size most."""
    sizes = [path.start.rms if path.start else path.layers[0].rms]
    sizes += [one.rms for one in path.layers]
    pairs = zip(sizes, sizes[1:], path.layers, strict=False)
    rates = [
        (math.log(after / before) if before and after else 0.0, layer.name)
        for before, after, layer in pairs
    ]
    return (min if smallest else max)(rates, key=lambda one: one[0])[1]


def _report(
    code: str,
    severity: Severity,
    where: str,
    summary: str,
    remedy: str,
    evidence: dict[str, float],
) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        where=where,
        summary=summary,
        remedy=remedy,
        evidence=dict(evidence),
    )
