"""What the forecast was fitted on, and what of a model lies beyond it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.measurement import Measurement

LAYERS = (3, 41)
"""Layers with weights on the way to the output, of the development grid."""
STEPS = (50, 150)
MOST_PARAMETERS = 25_210
MIN_SAMPLES = 64
"""The grid's audits saw 128 samples; the readout needs some."""
_KNOWN = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm1d)


def list_gaps(examination: Examination, measurement: Measurement, steps: int) -> Iterator[str]:
    """What the grids do not cover, each in a few words."""
    layers = measurement.layers
    if len(layers) > LAYERS[1] or len(layers) < LAYERS[0]:
        yield f"{len(layers)} layers, where the grid has {LAYERS[0]} to {LAYERS[1]}."
    if not STEPS[0] <= steps <= STEPS[1]:
        yield f"{steps} steps, where the grid has {STEPS[0]} to {STEPS[1]}."
    size = sum(one.numel() for one in examination.model.parameters())
    if size > MOST_PARAMETERS:
        yield f"{size:,} parameters, where the grid has at most {MOST_PARAMETERS:,}."
    if measurement.samples < MIN_SAMPLES:
        yield f"{measurement.samples} samples in the batch; give {MIN_SAMPLES} or more."
    names = _list_uncovered(examination.model)
    if names:
        yield f"{', '.join(names)}, where the grid has Linear, Conv2d, LayerNorm and BatchNorm1d."
    if measurement.loss.kind not in ("cross_entropy", "mse"):
        yield f"the loss is {measurement.loss.name}, where the grid has cross-entropy and MSE."


def _list_uncovered(model: nn.Module) -> list[str]:
    """The classes of modules that hold parameters and are not in the grid."""
    found = {
        type(one).__name__
        for one in model.modules()
        if not isinstance(one, _KNOWN) and any(True for _ in one.parameters(recurse=False))
    }
    return sorted(found)
