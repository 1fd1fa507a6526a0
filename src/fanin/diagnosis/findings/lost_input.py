"""F010 of a start at which nothing of the input gets through, because a hidden weight is 0.

A zero at the end of a residual branch, in a gate or in the last layer is a choice: everything else
still carries the input. A layer that all of the signal has to pass is another matter: what follows
sees the same numbers for every sample, and what comes before gets no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import get_anatomy
from fanin.diagnosis.findings.far_gains import find_place
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.patch import Patch

ALIKE = 1e-6
"""Samples that differ by less, relative to their size, differ by rounding."""
FIRST_NUMBERS = 1000
"""Of each sample so many are compared first, for most outputs differ in them."""


def find_lost_input(examination: Examination) -> Iterator[Finding]:
    """One finding for all hidden weights of zeros, if all samples have the same output."""
    measurement = examination.measurement
    if measurement is None or not _are_outputs_alike(measurement):
        return
    anatomy = get_anatomy(examination)
    names: list[str] = []
    for state in anatomy.weights:
        if state.use.role == "embedding" or state.draw.std != 0 or not state.use.parameter.numel():
            continue
        if find_place(anatomy, state.use) in ("hidden", "recurrent"):
            names.append(state.name)
    if names:
        yield _report(tuple(dict.fromkeys(names)), measurement.samples)


def _are_outputs_alike(measurement: Measurement) -> bool:
    output, samples = measurement.output, measurement.samples
    if output is None or samples < 2 or not output.dim() or len(output) != samples:
        return False
    if not output.numel() or not bool(torch.isfinite(output).all()):
        return False
    rows = output.flatten(1)
    step = max(rows.shape[1] // FIRST_NUMBERS, 1)
    return all(map(_are_rows_alike, (rows[:, ::step], rows)))


def _are_rows_alike(rows: Tensor) -> bool:
    values = rows.double()
    return bool((values - values[:1]).abs().max() <= ALIKE * values.abs().max())


def _report(names: tuple[str, ...], samples: int) -> Finding:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Finding(
        code="F010",
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"{names[0]}{more} is 0, and all of the signal has to pass it: the {samples} samples "
            "have the same output, and nothing before it gets a gradient."
        ),
        remedy=(
            "Draw it at random. Zeros belong at the end of a residual branch, or in the last layer."
        ),
        evidence={"samples": samples, "weights": len(names)},
        patches=(Patch(operation="initialize", parameters=names, initializer="auto"),),
    )
