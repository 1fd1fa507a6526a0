"""What a parameter held before: its moments, whether it was constant, whether anybody filled it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakTensorKeyDictionary

ABSURD = 1e10
"""A magnitude that no start has: memory that was never filled often reads like this."""
TINY = 1e-30
"""Numbers closer to zero than this, and not zero, occur in memory that was never filled."""

_WRITTEN = WeakTensorKeyDictionary()
"""Of each parameter that fanin has filled, its version then: no values of the model's own."""


@dataclass(frozen=True)
class PreviousValues:
    """The values of one parameter before anything was written."""

    mean: float
    std: float
    constant: float | None
    """The one value that all numbers have; None if they differ or there is one number only."""
    filled: bool
    """False if the numbers are not finite or absurd: memory that nobody ever filled."""


def measure_previous(parameter: Tensor) -> PreviousValues | None:
    """Measure a parameter; None if there is nothing to measure, as on the device meta."""
    if is_lazy(parameter):
        return None
    values = parameter.detach()
    if not _can_be_measured(values):
        return None
    low, high = (one.item() for one in torch.aminmax(values))
    if low == high:
        constant = float(low) if values.numel() > 1 else None
        return PreviousValues(float(low), 0.0, constant, abs(low) < ABSURD)
    if not (math.isfinite(low) and math.isfinite(high)) or max(-low, high) >= ABSURD:
        return PreviousValues(math.nan, math.nan, None, filled=False)
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    std, mean = torch.std_mean(wide, correction=0)
    filled = max(-low, high) >= TINY
    return PreviousValues(mean.item(), std.item(), None, filled)


def remember_written(parameters: Iterable[Tensor]) -> None:
    """Note that fanin has filled these parameters: what they hold now is not the model's own."""
    for parameter in parameters:
        if type(parameter) is nn.Parameter and not parameter.is_inference():
            _WRITTEN[parameter] = parameter._version


def is_written(parameter: Tensor) -> bool:
    """Whether a parameter holds what fanin wrote, and nothing has changed since."""
    return (
        type(parameter) is nn.Parameter
        and not parameter.is_inference()
        and bool(_WRITTEN.get(parameter) == parameter._version)
    )


def _can_be_measured(values: Tensor) -> bool:
    """Plain dense floating-point numbers of this process, on whatever device."""
    return (
        type(values) in (Tensor, nn.Parameter)
        and not values.is_meta
        and values.numel() > 0
        and values.layout is torch.strided
        and values.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    )
