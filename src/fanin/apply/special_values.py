"""Values that a model sets on purpose, and that a rule for all weights must not overwrite.

Zero gammas, LoRA's B, adaLN-zero, LayerScale, gate biases, a head's prior bias, Mamba's dt bias,
sampling offsets, tables of sines: the start of these models depends on them. They are told from
ordinary values by what no ordinary start draws:

| role | special if |
|---|---|
| weight, embedding | all numbers are equal; an identity or Dirac kernel; a table of sines |
| norm scale | all numbers are equal and not the neutral value |
| bias | the numbers, or those of one gate, are equal and not 0; or the layer's weight is special |
| | or all numbers lie beyond 1/√fan-in on one side, where no default draws |

A matrix of one number tells nothing. Nothing is special in a model whose weights are mostly
constant, or of which some memory was never filled: such a model has not been initialized yet. What
fanin wrote itself is not special either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fanin.apply.model_parameters import ParameterUse
from fanin.apply.previous_values import PreviousValues, is_written
from fanin.fans import WEIGHTS

_MOST = 0.5
"""From this share of constant weights on, a model counts as not initialized."""
_ONE_SIDED = 8
"""So many numbers on one side beyond 1/√fan-in are no accident: 2^-7 at most if they were drawn
around zero.
"""
_NEUTRAL = {"norm scale": 1.0, "norm offset": 0.0}
_IDENTITY_SHARE = 0.5
"""An identity or Dirac kernel has at most this share of numbers that are not 0."""


def find_special(
    uses: Sequence[ParameterUse], previous: Mapping[str, PreviousValues | None]
) -> dict[str, str]:
    """The parameters with values that the model set on purpose, by name, and what these are."""
    if _is_uninitialized(uses, previous):
        return {}
    found: dict[str, str] = {}
    for use in uses:
        before = previous.get(use.name)
        if before is not None and not use.through and not is_written(use.parameter):
            described = _describe_special(use, before)
            if described:
                found[use.name] = described
    return found | _list_biases_beside(uses, found)


def _is_uninitialized(
    uses: Sequence[ParameterUse], previous: Mapping[str, PreviousValues | None]
) -> bool:
    """Whether the model still lacks a start: memory never filled, or mostly constant weights."""
    known = [before for use in uses if (before := previous.get(use.name)) is not None]
    if not all(before.filled for before in known):
        return True
    weights = [
        before
        for use in uses
        if use.role in WEIGHTS and (before := previous.get(use.name)) is not None
    ]
    constant = sum(before.constant is not None for before in weights)
    return constant > _MOST * len(weights)


def _describe_special(use: ParameterUse, before: PreviousValues) -> str | None:
    if use.role in WEIGHTS:
        return _describe_weight(use, before)
    if use.role in _NEUTRAL:
        neutral = _NEUTRAL[use.role]
        special = before.constant is not None and before.constant != neutral
        return f"constant {before.constant:.4g}" if special else None
    if use.role in ("bias", "recurrent bias"):
        return _describe_bias(use, before)
    return None


def _describe_weight(use: ParameterUse, before: PreviousValues) -> str | None:
    values = use.parameter.detach()
    if before.constant is not None:
        return "all 0" if before.constant == 0 else f"constant {before.constant:.4g}"
    if values.dim() < 2 or min(values.shape[:2]) < 2:
        return None
    if _is_identity(values):
        return "an identity"
    if use.role == "embedding" and _is_table_of_sines(values):
        return "a table of sines"
    return None


def _is_identity(values: Tensor) -> bool:
    """Whether all numbers are 0 but for equal ones, few as in an identity or a Dirac kernel."""
    sample = values.reshape(-1)[:4096]
    if not 0 < int(sample.count_nonzero()) <= _IDENTITY_SHARE * len(sample) + 1:
        return False
    chosen = values[values != 0]
    return bool((chosen == chosen[0]).all()) and len(chosen) <= _IDENTITY_SHARE * values.numel()


def _is_table_of_sines(table: Tensor) -> bool:
    """Whether the squares of every row but the first add up to half of its size, as those of sines
    and cosines do.
    """
    rows = table[1:].float()
    if table.shape[1] < 4 or len(rows) == 0:
        return False
    norms = rows.square().sum(dim=1)
    return bool(((norms - table.shape[1] / 2).abs() < 1e-3 * table.shape[1]).all())


def _describe_bias(use: ParameterUse, before: PreviousValues) -> str | None:
    if before.constant is not None:
        return f"constant {before.constant:.4g}" if before.constant != 0 else None
    values = use.parameter.detach()
    for part in use.layout.parts:
        low, high = (one.item() for one in torch.aminmax(part.of(values)))
        if low == high and low != 0 and part.of(values).numel() > 1:
            return f"constant {low:.4g} in {part.name}"
    fans = use.layout.fans
    if fans is None or fans.fan_in <= 0 or values.numel() < _ONE_SIDED:
        return None
    bound = 1 / math.sqrt(fans.fan_in)
    low, high = (one.item() for one in torch.aminmax(values))
    return f"from {low:.4g} to {high:.4g}" if low > bound or high < -bound else None


def _list_biases_beside(uses: Sequence[ParameterUse], found: Mapping[str, str]) -> dict[str, str]:
    """The biases of layers whose weight is special: the model has set both."""
    owners = {id(use.module): use.name for use in uses if use.name in found and use.role in WEIGHTS}
    return {
        use.name: f"beside {owner}, which is {found[owner]}"
        for use in uses
        if use.role in ("bias", "recurrent bias")
        and use.name not in found
        and (owner := owners.get(id(use.module))) is not None
        and not is_written(use.parameter)
    }
