"""Models whose signals theory predicts, and how far predictions are from what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.probe import measure_start
from fanin.diagnosis.theory import PredictedSignal, Prediction, predict

LEVEL = 4.0
"""Standard errors that a mean over draws may be off: a level of 1e-4 for each comparison."""
BIAS = 0.02
"""What the limit of infinite width may be off by besides, in ln rms."""

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Gap:
    """ln of measured over predicted rms, and the spread that was allowed."""

    log: float
    spread: float


def draw_models(build: Build, count: int, seed: int = 0) -> Iterator[nn.Module]:
    """`count` draws of a model."""
    for index in range(count):
        with seeds.preserve_torch_state(seed + index):
            yield build()


def draw_batch(*shape: int, seed: int = 0) -> Tensor:
    """Standard-normal numbers."""
    return seeds.standard_normal(shape, seeds.make_generator(seed, "test-batch"))


def build_mlp(
    activation: Callable[[], nn.Module],
    widths: Sequence[int],
    weight_std: float,
    bias_std: float = 0.0,
) -> nn.Sequential:
    """Linear layers with σ_w and σ_b, an activation between each two."""
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs)
        nn.init.normal_(layer.weight, std=weight_std / math.sqrt(inputs))
        nn.init.normal_(layer.bias, std=bias_std)
        parts += [layer, activation()]
    return nn.Sequential(*parts[:-1])


def measure_and_predict(model: nn.Module, batch: Any) -> tuple[Measurement, Prediction]:
    """Both."""
    measurement = measure_start(model, batch)
    return measurement, predict(model, measurement)


def predict_wrongly(model: nn.Module, measurement: Measurement, layer: nn.Linear) -> Prediction:
    """The prediction if one layer's σ_w is told to theory 1.5 times too large."""
    with torch.no_grad():
        layer.weight.mul_(1.5)
    found = predict(model, replace(measurement, parameters={}))
    with torch.no_grad():
        layer.weight.div_(1.5)
    return found


def compare_signal(measured: Signal, predicted: PredictedSignal) -> Gap:
    """Of one node's signal."""
    assert predicted.predicted_rms is not None, predicted.reason
    assert predicted.spread is not None
    return Gap(math.log(measured.rms / predicted.predicted_rms), predicted.spread)


def compare_gradient(measured: Signal, predicted: PredictedSignal) -> Gap:
    """Of the gradient at one node."""
    assert predicted.predicted_gradient_rms is not None, predicted.gradient_reason
    assert predicted.gradient_spread is not None
    assert measured.gradient_rms is not None
    ratio = measured.gradient_rms / predicted.predicted_gradient_rms
    return Gap(math.log(ratio), predicted.gradient_spread)


def agree(gaps: Sequence[Gap], bias: float = BIAS) -> bool:
    """Whether the mean over independent draws is 0 as far as they can tell."""
    error = fmean(gap.spread for gap in gaps) / math.sqrt(len(gaps))
    return abs(fmean(gap.log for gap in gaps)) < LEVEL * error + bias
