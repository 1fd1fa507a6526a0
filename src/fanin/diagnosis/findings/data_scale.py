"""Whether inputs and targets have a size that the model was made for: F011, F042, F043."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.loss_behaviour import try_loss
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.structure.forward_tracing import collect_tensors

LARGE_INPUT, HUGE_INPUT = 10.0, 50.0
"""The rms of an input that a layer takes without a normalization. Initializers keep unit size: raw
pixels have about 130, and so do the first pre-activations.
"""
SMALL_INPUT = 0.01
"""Below it biases outweigh the data."""
WEAK_INPUT, WEAK_MAXIMUM = 0.2, 0.75
"""The same of dense inputs none of whose numbers is near 1: in one-hot codes, counts and images on
black, few numbers are large and most are 0."""
FAR_FROM_CENTRE = 0.05
"""How different samples are, relative to their size: years about 2000 ± 5."""
LARGE_TARGET, HUGE_TARGET = 10.0, 50.0
"""The rms of a target over that of the output, if that is at least 1: the output has to grow so
much before anything is learned."""


def judge_data(examination: Examination) -> Iterator[Finding]:
    """Inputs far from unit scale, inputs that are all alike, targets far from the outputs."""
    measurement = examination.measurement
    if measurement is None:
        return
    yield from _judge_equal_inputs(examination, measurement)
    for one in measurement.batch_stats.values():
        found = _judge_input(measurement, one)
        if found is not None:
            yield found
    target = _judge_target(examination, measurement)
    if target is not None:
        yield target


def _judge_equal_inputs(examination: Examination, measurement: Measurement) -> Iterator[Finding]:
    tensors = [
        one
        for one in collect_tensors(examination.batch)
        if one.dim() and len(one) == measurement.samples > 1
    ]
    target = measurement.target
    told_apart = target is None or len(torch.unique(target)) > 1
    if tensors and told_apart and all(map(_is_constant, tensors)):
        yield Finding(
            code="F011",
            severity="error",
            where="input",
            summary=(
                f"All {measurement.samples} samples of the batch are the same: no output can "
                "depend on the input."
            ),
            remedy=(
                "Check how the inputs are made: real numbers that are cast to whole ones become "
                "one index."
            ),
            evidence={"samples": measurement.samples},
        )


def _is_constant(values: Tensor) -> bool:
    return bool((values == values[:1]).all())


def _judge_input(measurement: Measurement, signal: Signal) -> Finding | None:
    if not signal.finite or not signal.rms or not _meets_layer(measurement, signal.node):
        return None
    first = measurement.batch_stats
    name = "input" if len(first) == 1 else f"input {signal.name}"
    if signal.rms > LARGE_INPUT:
        severity: Severity = (
            "error" if signal.rms > HUGE_INPUT and _has_harm(measurement) else "warning"
        )
        text = f"is {signal.rms:.3g} in rms (mean {signal.mean:.3g}, standard deviation "
        text += f"{signal.std:.3g}), where weights are made for about 1"
        advice = "Standardize it: subtract the training data's mean and divide by its deviation."
    elif signal.rms < SMALL_INPUT or _is_weak(signal):
        severity = "warning"
        text = f"is {signal.rms:.3g} in rms, where weights are made for about 1"
        advice = "Divide it by the training data's standard deviation."
    elif _is_off_centre(signal):
        severity = "warning"
        text = (
            f"has mean {signal.mean:.3g}, and its samples differ by {signal.input_distance:.2g} of "
            "their size only"
        )
        advice = "Subtract the training data's mean, and divide by its standard deviation."
    else:
        return None
    return Finding(
        code="F042",
        severity=severity,
        where="input",
        summary=f"The {name} {text}.",
        remedy=advice,
        evidence={"rms": signal.rms, "mean": signal.mean, "std": signal.std},
    )


def _is_weak(signal: Signal) -> bool:
    dense = signal.zero_share < 0.5
    return dense and signal.rms < WEAK_INPUT and signal.maximum < WEAK_MAXIMUM


def _is_off_centre(signal: Signal) -> bool:
    return signal.input_distance is not None and 0 < signal.input_distance < FAR_FROM_CENTRE


def _has_harm(measurement: Measurement) -> bool:
    """Whether the size of the input shows in the loss or in saturated units."""
    loss = measurement.loss
    reference = loss.prior if loss.prior is not None else loss.uninformed
    far = (
        loss.value is not None
        and reference is not None
        and loss.value > 3 * max(abs(reference), 1e-6)
    )
    saturated = any((one.saturated or 0) > 0.5 for one in measurement.signals.values())
    return far or saturated


def _meets_layer(measurement: Measurement, index: int) -> bool:
    """Whether a layer, and not a normalization or a table, takes the input first."""
    seen, waiting = {index}, [index]
    while waiting:
        for user in measurement.graph.users[waiting.pop()]:
            node = measurement.graph.nodes[user]
            if node.kind == "layer":
                return True
            if node.kind in ("transparent", "add") and user not in seen:
                seen.add(user)
                waiting.append(user)
    return False


def _judge_target(examination: Examination, measurement: Measurement) -> Finding | None:
    target, output = measurement.target, measurement.output
    if target is None or output is None or not target.is_floating_point():
        return None
    if output.numel() != target.numel() or not output.numel() or measurement.loss.kind == "model":
        return None
    size = float(target.double().square().mean().sqrt())
    made = float(output.double().square().mean().sqrt())
    ratio = size / max(1.0, made)
    if not ratio > LARGE_TARGET:
        return None
    loss = examination.loss_function
    behaviour = None if loss is None else try_loss(loss, output, target)
    if behaviour is not None and behaviour.takes_probabilities:
        return None  # another finding says what is wrong
    return Finding(
        code="F043",
        severity="error" if ratio > HUGE_TARGET or _has_harm(measurement) else "warning",
        where="target",
        summary=(
            f"Targets are {size:.3g} in rms (mean {float(target.float().mean()):.3g}), outputs "
            f"{made:.3g}: the last layer has to grow {ratio:.2g}-fold before anything is learned."
        ),
        remedy=(
            "Standardize the target by the training data's mean and deviation, and undo that for "
            "predictions; or scale the last layer and set its bias to the mean."
        ),
        evidence={"target rms": size, "output rms": made, "ratio": ratio},
    )
