"""F001: the first place at which numbers are not finite."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import Measurement, Signal


def judge_finite(examination: Examination) -> Iterator[Finding]:
    """Parameters, inputs, signals, the loss, gradients: the first that is not finite, since it
    spoils all that follow.
    """
    measurement = examination.measurement
    if measurement is None:
        return
    bad = [one.name for one in measurement.parameters.values() if not one.finite]
    if bad:
        yield _report(
            bad[0],
            "The parameter holds numbers that are not finite.",
            "Initialize it: memory of torch.empty that nobody filled holds anything.",
            tuple(bad[1:]),
        )
        return
    source = next((one for one in measurement.signals.values() if not one.finite), None)
    if source is not None:
        yield _report_signal(measurement, source)
    elif not measurement.loss.finite:
        yield _report(
            "loss",
            f"The loss ({measurement.loss.name}) is not finite, while all outputs are.",
            "Check the logarithms, roots and divisions of the loss; use a loss that takes logits.",
        )
    else:
        yield from _judge_gradients(measurement)


def _report_signal(measurement: Measurement, source: Signal) -> Finding:
    if source.kind == "input":
        return _report(
            "input",
            f"The input {source.name} holds numbers that are not finite.",
            "Remove or replace missing values before they reach the model.",
        )
    largest = max(
        (measurement.signals[one].maximum for one in source.inputs if one in measurement.signals),
        default=0.0,
    )
    where = source.name.partition(":")[0] if ":" in source.name else source.name
    return _report(
        where,
        f"The output of {source.label} is not finite; what it was given reaches {largest:.3g}.",
        "The signal overflows, or something is divided by 0. Smaller weights, a normalization, or "
        "an activation that grows less keep it finite.",
        evidence={"largest input": largest},
    )


def _judge_gradients(measurement: Measurement) -> Iterator[Finding]:
    bad = [one for one in measurement.signals.values() if not one.gradient_finite]
    parameters = [one.name for one in measurement.parameters.values() if not one.gradient_finite]
    if bad:
        # The last in the order of the forward pass is the first of the backward pass.
        yield _report(
            bad[-1].name.partition(":")[0],
            f"The gradient that comes back to {bad[-1].label} is not finite, while the loss is.",
            "A root, norm or division has an infinite slope at 0: add a small number inside it.",
        )
    elif parameters:
        yield _report(
            parameters[0],
            "The gradient of the parameter is not finite, while the loss is.",
            "A root, norm or division has an infinite slope at 0: add a small number inside it.",
            tuple(parameters[1:]),
        )


def _report(
    where: str,
    summary: str,
    remedy: str,
    also: tuple[str, ...] = (),
    evidence: dict[str, float] | None = None,
) -> Finding:
    return Finding(
        code="F001",
        severity="error",
        where=where,
        also=also,
        summary=summary,
        remedy=remedy,
        evidence=dict(evidence or {}),
    )
