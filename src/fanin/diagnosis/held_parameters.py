"""The parameters of a model, each once, with their roles and the numbers that they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from fanin.apply.model_parameters import ParameterUse, find_uses, group_tied
from fanin.fans import WEIGHTS, Role, WeightLayout

SAMPLE = 16_384
"""So many numbers tell a standard deviation to 0.6 %."""
_BLOCKS = 64
"""A sample of a large parameter is so many runs of neighbours, spread over all of it."""


@dataclass(frozen=True, eq=False)
class HeldParameter:
    """One parameter and the numbers that it holds.

    Of a reparametrized weight (weight_norm) these are the numbers that its layer computes with.
    """

    use: ParameterUse = field(repr=False)
    values: Tensor = field(repr=False)
    low: float
    """The smallest number; NaN if one is."""
    high: float

    @property
    def name(self) -> str:
        """The bare name."""
        return self.use.bare_name

    @property
    def layer(self) -> str:
        """The bare path of the module that holds it."""
        return self.name.rpartition(".")[0]

    @property
    def role(self) -> Role:
        """What it does in its layer."""
        return self.use.role

    @property
    def layout(self) -> WeightLayout:
        """Which axis is which."""
        return self.use.layout

    @property
    def trainable(self) -> bool:
        """Whether training changes it."""
        return any(one.parameter.requires_grad for one in self.use.carriers)

    @property
    def is_weight(self) -> bool:
        """Whether it holds a linear map; an embedding does not."""
        return self.role in WEIGHTS and self.role != "embedding" and self.values.dim() >= 2

    @property
    def finite(self) -> bool:
        """Whether all numbers are."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def constant(self) -> float | None:
        """The one value that all numbers have; None if they differ or there is one number only."""
        return self.low if self.low == self.high and self.values.numel() > 1 else None

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))

    @cached_property
    def sample(self) -> Tensor:
        """At most `SAMPLE` of its numbers, as float32 in their order."""
        return take_sample(self.values)

    @cached_property
    def std(self) -> float:
        """The standard deviation, of the sample."""
        return self.sample.std(correction=0).item()

    @cached_property
    def mean(self) -> float:
        """The mean of the sample."""
        return self.sample.mean().item()

    @property
    def rms(self) -> float:
        """The root of the mean square, of the sample."""
        return math.hypot(self.std, self.mean)


def list_held(model: nn.Module) -> tuple[HeldParameter, ...]:
    """Every parameter of a model whose numbers can be looked at, in the model's order."""
    return tuple(hold_parameters(find_uses(model, "kernel")))


def hold_parameters(uses: Sequence[ParameterUse]) -> Iterator[HeldParameter]:
    """The numbers of some parameters; of tied ones once."""
    for group in group_tied(uses):
        use = group[0]
        values = _read_values(use)
        if _can_be_measured(values):
            low, high = (one.item() for one in torch.aminmax(values))
            yield HeldParameter(use, values, float(low), float(high))


def take_sample(values: Tensor, size: int = SAMPLE) -> Tensor:
    """At most `size` of the numbers, as float32 in their order."""
    flat = values.reshape(-1)
    if len(flat) > size:
        run = len(flat) // _BLOCKS
        flat = flat[: run * _BLOCKS].view(_BLOCKS, run)[:, : size // _BLOCKS].reshape(-1)
    return flat.float()


def _can_be_measured(values: Tensor) -> bool:
    """Plain dense floating-point numbers of this process, on whatever device."""
    return (
        type(values) in (Tensor, nn.Parameter)
        and not values.is_meta
        and values.numel() > 0
        and values.layout is torch.strided
        and values.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    )


@torch.no_grad()
def _read_values(use: ParameterUse) -> Tensor:
    """The numbers that the layer computes with."""
    if not use.through:
        return use.parameter.detach()
    found = getattr(use.module, use.local, None)
    return found.detach() if isinstance(found, Tensor) else use.parameter.detach()
