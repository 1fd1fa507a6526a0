"""Units that are off, or stuck at a bound, for every sample: F002, F003."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.measurement import Measurement, Signal

MOST = 0.5
"""In deep plain networks at the default start half of the units are off for all samples by chance:
more is a defect."""
SATURATED = 0.5
"""Half of the numbers where the slope is below 2 % of the steepest."""
NARROW_RISK = 0.2
"""The chance that in some layer of a ReLU network all units are off for an input, Σ 2^−width."""
MIN_SAMPLES = 4
MIN_PLACES = 8
"""Numbers of each unit (samples × places) below which some units may be off for all by chance: what
is averaged over an image is nearly the same for four of them, as in squeeze-and-excitation.
"""


def judge_dead_units(examination: Examination) -> Iterator[Finding]:
    """F002: activations whose units are 0 for every sample."""
    measurement = examination.measurement
    if measurement is None or measurement.samples < MIN_SAMPLES:
        return
    dead = [
        (signal, feeder)
        for signal in measurement.signals.values()
        if signal.kind == "activation"
        and (signal.zero_units or 0) > MOST
        and (signal.zero_units == 1 or _count_places(signal) >= MIN_PLACES)
        and (feeder := _find_feeder(measurement, signal)) is not None
        and feeder.rms > 0
    ]
    if dead:
        yield _report_dead(dead)
    yield from _judge_narrow(measurement)


def _count_places(signal: Signal) -> int:
    """The numbers of each unit."""
    return math.prod(signal.shape) // max(signal.units or 1, 1)


def _report_dead(dead: list[tuple[Signal, Signal]]) -> Finding:
    worst = max(dead, key=lambda one: one[0].zero_units or 0)
    share = worst[0].zero_units or 0.0
    severity: Severity = "error" if share == 1 else "warning"
    first = next(pair for pair in dead if pair[0].zero_units == share)
    others = tuple(dict.fromkeys(one.name for _, one in dead if one.name != first[1].name))
    return Finding(
        code="F002",
        severity=severity,
        where=first[1].name,
        also=others,
        summary=(
            f"{share:.0%} of the {first[0].units} units after {first[1].name} "
            f"({first[0].label}) are 0 for every sample"
            + (
                ": no gradient passes, and no layer before it learns."
                if share == 1
                else ": they get no gradient."
            )
        ),
        remedy=(
            "Set the biases to 0 and draw the weights with the gain of the activation; a leaky "
            "activation lets gradients pass."
        ),
        evidence={"share of dead units": share, "units": first[0].units},
    )


def _find_feeder(measurement: Measurement, signal: Signal) -> Signal | None:
    """The layer whose output an activation gets."""
    current = signal.inputs
    while current:
        node = measurement.graph.nodes[current[0]]
        if node.kind == "layer":
            return measurement.signals.get(node.index)
        if node.kind not in ("transparent", "normalization"):
            return None
        current = node.inputs
    return None


def _judge_narrow(measurement: Measurement) -> Iterator[Finding]:
    """Layers so narrow that all their ReLUs are off for many inputs, by chance."""
    widths = [
        (signal.units, feeder)
        for signal in measurement.signals.values()
        if signal.kind == "activation"
        and signal.label.lower() in ("relu", "relu6")
        and signal.units is not None
        and len(signal.shape) == 2
        and (feeder := _find_feeder(measurement, signal)) is not None
    ]
    risk = 1 - math.prod(1 - 2.0**-units for units, _ in widths)
    if len(widths) < 3 or risk < NARROW_RISK:
        return
    units, narrowest = min(widths, key=lambda one: one[0])
    yield Finding(
        code="F002",
        severity="warning",
        where=narrowest.name,
        also=tuple(one.name for width, one in widths if width == units)[1:],
        summary=(
            f"{len(widths)} ReLU layers of as few as {units} units: with probability {risk:.0%} "
            "some layer is off for an input, which then has no gradient and no influence."
        ),
        remedy="Widen the layers, use fewer of them, or a leaky activation.",
        evidence={"narrowest layer": units, "layers": len(widths), "probability": risk},
    )


def judge_saturation(examination: Examination) -> Iterator[Finding]:
    """F003: bounded activations most of whose inputs lie where they are flat."""
    measurement = examination.measurement
    if measurement is None:
        return
    found = [
        (signal, feeder)
        for signal in measurement.signals.values()
        if (signal.saturated or 0) >= SATURATED
        and (feeder := _find_feeder(measurement, signal)) is not None
    ]
    if not found:
        return
    worst, feeder = max(found, key=lambda one: one[0].saturated or 0)
    share = worst.saturated or 0.0
    yield Finding(
        code="F003",
        severity="warning",
        where=feeder.name,
        also=tuple(dict.fromkeys(one.name for _, one in found if one.name != feeder.name)),
        summary=(
            f"{share:.0%} of the numbers that {worst.label} gets from {feeder.name} lie where it "
            f"is flat (they are {feeder.rms:.3g} in rms): little gradient passes."
        ),
        remedy="Draw the weights smaller (xavier_normal), and scale the inputs to unit size.",
        evidence={"saturated share": share, "rms before": feeder.rms},
    )
