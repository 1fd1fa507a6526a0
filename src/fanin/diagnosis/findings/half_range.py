"""F048: numbers that are too small or too large for the precision of the model.

| dtype    | smallest normal number | smallest number | largest number | spacing at 1 |
|----------|------------------------|-----------------|----------------|--------------|
| float16  | 6.1e-5                 | 6.0e-8          | 65504          | 0.00098      |
| bfloat16 | 1.2e-38                | 9.2e-41         | 3.4e38         | 0.0078       |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.held_parameters import HeldParameter

CODE = "F048"

NORMAL = 2.0**-14
"""The smallest float16 number of full precision."""
SMALLEST = 2.0**-24
LARGEST = 65504.0
CLOSE = 0.25
"""A signal that comes so close to the largest number exceeds it when training has doubled it
twice."""
MANY = 0.1
"""Of N(0, 0.02), 0.2 % of the numbers lie below the smallest normal one; that costs nothing."""
MOST = 0.5
LEVELS = 4
"""Noise around a value that leaves so few distinct numbers was rounded away."""
_LEAST = 16


def find_range_errors(examination: Examination) -> Iterator[Finding]:
    """Findings about parameters, activations and gradients in low precision."""
    half = [one for one in examination.held if one.values.dtype == torch.float16 and one.finite]
    low = half + [one for one in examination.held if one.values.dtype == torch.bfloat16]
    if half:
        yield from _find_small_weights(half)
        yield from _find_large_signals(examination)
        yield from _find_small_gradients(examination, {one.name for one in half})
    yield from _find_lost_noise([one for one in low if one.finite])


def _find_small_weights(half: Sequence[HeldParameter]) -> Iterator[Finding]:
    """Parameters of which many numbers are below the range of full precision."""

    def measure(one: HeldParameter) -> float:
        sizes = one.sample.abs()
        return float(((sizes < NORMAL) & (sizes > 0)).double().mean())

    found = [one for one in half if measure(one) > MANY]
    if found:
        worst = max(found, key=measure)
        yield _report(
            worst.name,
            [one.name for one in found],
            f"{100 * measure(worst):.0f} % of the numbers of {worst.name} are smaller than "
            f"{NORMAL:.2g}, where float16 loses precision.",
            "Keep these parameters in float32 or bfloat16, or use a larger scale with a factor.",
            {"share_below_range": measure(worst), "rms": worst.rms, "smallest_normal": NORMAL},
        )


def _find_large_signals(examination: Examination) -> Iterator[Finding]:
    """Signals that come close to the largest number of float16."""
    measurement = examination.measurement
    signals = measurement.signals.values() if measurement else ()
    found = [one for one in signals if one.finite and one.maximum > CLOSE * LARGEST]
    if found:
        worst = max(found, key=lambda one: one.maximum)
        yield _report(
            worst.name,
            [one.name for one in found],
            f"The output of {worst.name} reaches {worst.maximum:.4g}; float16 ends at "
            f"{LARGEST:.0f}.",
            "Use bfloat16 or float32 here, or make the signal smaller.",
            {"maximum": worst.maximum, "largest": LARGEST},
        )


def _find_small_gradients(examination: Examination, half: set[str]) -> Iterator[Finding]:
    """Parameters whose gradients are mostly lost."""
    measurement = examination.measurement
    states = measurement.parameters.values() if measurement else ()
    found = [
        one
        for one in states
        if one.name in half
        and one.trainable
        and one.gradient_rms is not None
        and 0 < one.gradient_rms < NORMAL
        and (one.gradient_rms < SMALLEST or (one.gradient_zero_share or 0.0) > MOST)
    ]
    if found:
        worst = min(found, key=lambda one: one.gradient_rms or 0.0)
        yield _report(
            worst.name,
            [one.name for one in found],
            f"The gradient of {worst.name} has an rms of {worst.gradient_rms:.2g}, and "
            f"{100 * (worst.gradient_zero_share or 0.0):.0f} % of it are 0: float16 ends at "
            f"{SMALLEST:.1g}.",
            "Scale the loss (torch.amp.GradScaler), or train in bfloat16.",
            {
                "gradient_rms": worst.gradient_rms,
                "gradient_zero_share": worst.gradient_zero_share,
                "smallest": SMALLEST,
            },
        )


def _find_lost_noise(low: Sequence[HeldParameter]) -> Iterator[Finding]:
    """Parameters that are one value and noise that is smaller than the spacing of numbers there."""
    found = [one for one in low if _lost_noise(one)]
    if found:
        worst = found[0]
        spacing = _take_spacing(worst)
        names = tuple(one.name for one in found)
        yield _report(
            worst.name,
            names,
            f"{worst.name} varies by {worst.std:.2g} around {worst.mean:.3g}, where neighbouring "
            f"numbers of {_name(worst.values.dtype)} are {spacing:.2g} apart: most of that is "
            "rounded away.",
            "Keep these parameters in float32: small updates are lost in the same way.",
            {"std": worst.std, "mean": worst.mean, "spacing": spacing},
        )


def _lost_noise(held: HeldParameter) -> bool:
    if held.constant is not None or held.values.numel() < _LEAST or held.low <= 0 <= held.high:
        return False
    return held.std < _take_spacing(held) and len(held.sample.unique()) <= LEVELS


def _take_spacing(held: HeldParameter) -> float:
    """The distance of neighbouring numbers at the parameter's mean."""
    mean = torch.tensor(abs(held.mean))
    return float(2 ** mean.log2().floor()) * torch.finfo(held.values.dtype).eps


def _report(
    where: str,
    names: Sequence[str],
    summary: str,
    remedy: str,
    evidence: dict[str, float | None],
) -> Finding:
    return Finding(
        code=CODE,
        severity="warning",
        where=where,
        also=tuple(name for name in dict.fromkeys(names) if name != where),
        summary=summary,
        remedy=remedy,
        evidence=evidence,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
