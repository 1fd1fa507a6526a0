"""What one step of a training showed of each layer: plain records of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALL = "(all)"
"""The name of the row that stands for the whole model."""

ROOT = "(model)"
"""The name of a model that is one layer."""

STATISTICS: Mapping[str, str] = {
    "mean": "mean of the output",
    "std": "standard deviation of the output",
    "rms": "rms of the output",
    "zero_units": "share of dead units",
    "saturated": "share of saturated outputs",
    "saturated_units": "share of saturated units",
    "gradient_rms": "rms of the gradient",
    "weight_norm": "norm of the weights",
    "update_ratio": "update ratio",
}
"""Name → in words, in the order of columns.

- ``mean``, ``std``, ``rms``: of all numbers that a layer or an activation puts out. If one of them
  is not finite, the rms is inf; so is that of a gradient.
- ``zero_units``: of an activation, the share of units that are 0 for the whole batch.
- ``saturated``: of a bounded activation, the share of numbers at which its slope is less than 2 %
  of its largest; ``saturated_units`` the share of units all of whose numbers are so.
- ``gradient_rms``: √(Σg²/n) over the layer's trainable parameters, after clipping, as the
  optimizer gets it; of an embedding over the rows that the batch has used.
- ``weight_norm``: ‖W‖, Euclidean, over the same parameters, before the step.
- ``update_ratio``: ‖ΔW‖ / ‖W‖ of this step.
"""


@dataclass(frozen=True)
class LayerReading:
    """One layer, or one activation, in one step.

    An activation is named after the layer whose output it takes, ``fc1:relu``; where other steps
    lie between, after the layer that was computed last before it.
    """

    name: str
    values: Mapping[str, float]
    """By the names of `STATISTICS`; what does not apply is missing."""


@dataclass(frozen=True)
class Reading:
    """All layers in one step of a training, in the order of their computation, `ALL` last."""

    step: int
    """From 1."""
    epoch: int
    """Epochs completed before the step."""
    layers: tuple[LayerReading, ...]
