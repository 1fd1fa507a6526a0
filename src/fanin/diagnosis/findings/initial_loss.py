"""The loss before training against what a model that knows nothing has: F031, F037."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.final_activation import FinalActivation, find_final_activation
from fanin.diagnosis.findings.plain_paths import find_start
from fanin.diagnosis.findings.shrunk_output import find_output_factor
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.patch import Patch

FAR, FURTHER = 2.0, 30.0
"""The loss over that of an uninformed prediction. Logits of standard deviation σ add σ²/2 to ln C:
a head drawn by He's rule is within 1.5 for ten classes. Of 15 faulty classifiers that started
between 6 and 30 times too high, 10 trained as well as sound ones; beyond, 5 of 18."""
MIN_EXCESS = 1.5
"""In nats: with few classes ln C is small, and a ratio says little."""
FAR_SQUARES, FURTHER_SQUARES = 20.0, 200.0
"""The same of a squared error, against that of the best constant."""
LARGE_LOGITS = 4.0
"""The rms from which on a softmax is nearly decided before it has seen anything."""
OUTPUT_SIZE = 0.5
"""The rms that a last layer is scaled to: small beside a unit, and larger than rounding."""
MOSTLY_BIAS = 0.7
"""The share of the outputs' rms from which on the bias is what makes them large."""
LARGE_FACTOR = 100.0
"""A constant that multiplies the output also multiplies every step of the last layer: beyond this
no smaller weight makes up for it, and the constant has to go.
"""


def judge_initial_loss(examination: Examination) -> Iterator[Finding]:
    """The initial loss, and the last layer that causes it."""
    measurement = examination.measurement
    if measurement is None or measurement.loss.value is None or not measurement.loss.finite:
        return
    final = find_final_activation(measurement)
    found = _judge_value(examination, measurement, final)
    if found is not None:
        yield found


def _judge_value(
    examination: Examination, measurement: Measurement, final: FinalActivation | None
) -> Finding | None:
    loss = measurement.loss
    assert loss.value is not None
    reference = loss.uninformed if loss.uninformed is not None else loss.prior
    if reference is None or not math.isfinite(reference) or reference <= 1e-6:
        return None
    classes = loss.classes is not None
    ratio = loss.value / reference
    if classes and (ratio < FAR or loss.value - reference < MIN_EXCESS):
        return None
    if not classes and ratio < FAR_SQUARES:
        return None
    severe = ratio > (FURTHER if classes else FURTHER_SQUARES)
    return _report_value(examination, measurement, final, reference, severe)


def _report_value(
    examination: Examination,
    measurement: Measurement,
    final: FinalActivation | None,
    reference: float,
    severe: bool,
) -> Finding:
    loss = measurement.loss
    assert loss.value is not None
    ratio = loss.value / reference
    known = (
        "a prediction that knows nothing"
        if loss.uninformed is not None
        else ("the best constant prediction")
    )
    text = f"The loss is {loss.value:.3g} before training, and {known} has {reference:.3g}"
    head = None if final is None else measurement.get_layer(final.layer)
    tied = head is not None and _is_tied(examination, head.name)
    made_by_head = head is not None and head.rms > LARGE_LOGITS and _is_output(measurement, head)
    severity: Severity = "error" if severe and made_by_head else "warning"
    if head is None or not made_by_head or tied:
        multiplied = None if head is not None else find_output_factor(measurement)
        patches = () if multiplied is None else _divide(measurement, *multiplied)
        if head is not None and not tied and _is_output(measurement, head):
            patches = _shrink(measurement, head)[1] if head.rms > OUTPUT_SIZE else ()
        return Finding(
            code="F037",
            severity=severity,
            where=head.name if head is not None else multiplied[0].name if multiplied else "loss",
            summary=f"{text}: the first steps only undo that.",
            remedy="Make the last layer small (std 0.02 or 0), or standardize the targets.",
            evidence={"loss": loss.value, "uninformed": reference, "ratio": ratio},
            patches=patches,
        )
    remedy, patches = _shrink(measurement, head)
    return Finding(
        code="F031",
        severity=severity,
        where=head.name,
        summary=f"{text}: the outputs of {head.name} are {head.rms:.3g} in rms.",
        remedy=remedy,
        evidence={
            "loss": loss.value,
            "uninformed": reference,
            "ratio": ratio,
            "output rms": head.rms,
            "gain": _measure_gain(measurement, head),
        },
        patches=patches,
    )


def _measure_gain(measurement: Measurement, head: Signal) -> float | None:
    """How much larger than its input a layer's output is."""
    start = find_start(measurement, head)
    return head.rms / start.rms if start is not None and start.rms else None


def _is_output(measurement: Measurement, head: Signal) -> bool:
    """Whether the layer's output is the model's, in size: of a head that is normalized and then
    scaled by design, the layer's own output is small.
    """
    output = measurement.output
    return output is not None and math.isclose(
        head.rms, float(output.float().square().mean().sqrt()), rel_tol=0.1
    )


def _shrink(measurement: Measurement, head: Signal) -> tuple[str, tuple[Patch, ...]]:
    """What makes the outputs of a last layer small: a bias of 0 if they are mostly bias, else a
    smaller weight.
    """
    bias = measurement.parameters.get(f"{head.name}.bias")
    if bias is not None and bias.rms > MOSTLY_BIAS * head.rms:
        patch = Patch(operation="set", parameters=(bias.name,), value=0.0)
        return f"Its bias is {bias.rms:.3g} in rms: start it at 0, or at what labels ask for.", (
            patch,
        )
    factor, weight = OUTPUT_SIZE / head.rms, f"{head.name}.weight"
    remedy = f"Scale its weight by {factor:.2g}, or start it at 0."
    if weight not in measurement.parameters:
        return remedy, ()
    scale = Patch(operation="scale", parameters=(weight,), value=float(f"{factor:.3g}"))
    return remedy, (scale,)


def _divide(measurement: Measurement, layer: Signal, factor: float) -> tuple[Patch, ...]:
    """A smaller last layer before a constant that makes the output large."""
    size = layer.rms * abs(factor)
    names = tuple(
        name
        for name in (f"{layer.name}.weight", f"{layer.name}.bias")
        if name in measurement.parameters
    )
    if not names or not size > LARGE_LOGITS or abs(factor) > LARGE_FACTOR:
        return ()
    return (Patch(operation="scale", parameters=names, value=float(f"{OUTPUT_SIZE / size:.3g}")),)


def _is_tied(examination: Examination, layer: str) -> bool:
    structure = examination.structure
    return structure is not None and any(
        name.rpartition(".")[0] == layer for names in structure.ties for name in names
    )
