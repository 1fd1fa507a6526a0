"""Rows of a matrix that are equal, also up to their sign."""

from __future__ import annotations

import torch
from torch import Tensor

from fanin.fans import WeightLayout

_FIRST = 16
"""Only rows that begin with the same numbers are compared as a whole."""
_FACTOR = -7046029254386353131
"""An odd number whose bits look random: 2^64 divided by the golden ratio."""


def find_equal_rows(rows: Tensor) -> list[list[int]]:
    """The groups of rows that hold the same numbers, or the same with the other sign."""
    some = _find_equal(rows[:, :_FIRST])
    return [[group[one] for one in own] for group in some for own in _find_equal(rows[group])]


def find_sign(row: Tensor) -> float:
    """The sign of the first number that is not 0; 1 if all are."""
    chosen = row[row != 0]
    return -1.0 if len(chosen) and chosen[0] < 0 else 1.0


def are_distinct(rows: Tensor) -> bool:
    """Whether no two rows are equal up to their sign."""
    return not find_equal_rows(rows)


def _find_equal(rows: Tensor) -> list[list[int]]:
    if len(rows) < 2:
        return []
    numbers = _remove_signs(rows.float())
    keys, order = _hash_rows(numbers).sort()
    cuts = (keys[1:] != keys[:-1]).nonzero().flatten() + 1
    if len(cuts) == len(rows) - 1:
        return []
    groups = torch.tensor_split(order, cuts.tolist())
    return [
        sorted(group.tolist())
        for group in groups
        if len(group) > 1 and bool((numbers[group] == numbers[group[0]]).all())
    ]


def _remove_signs(numbers: Tensor) -> Tensor:
    """The rows divided by the sign of their first number that is not 0."""
    first = (numbers != 0).to(torch.uint8).argmax(dim=1, keepdim=True)
    negative = numbers.gather(1, first) < 0
    return torch.where(negative, -numbers, numbers) + 0.0  # -0 becomes 0


def _hash_rows(numbers: Tensor) -> Tensor:
    """One 64-bit number per row."""
    bits = numbers.contiguous().view(torch.int32).long()
    places = _mix(torch.arange(1, bits.shape[1] + 1, device=bits.device)) | 1
    return (_mix(bits) * places).sum(dim=1)


def _mix(numbers: Tensor) -> Tensor:
    """Spread every bit over all 64."""
    mixed = numbers * _FACTOR
    mixed = (mixed ^ (mixed >> 32)) * _FACTOR
    return mixed ^ (mixed >> 29)


def read_rows(values: Tensor, layout: WeightLayout, columns: int | None = None) -> list[Tensor]:
    """The rows of each group of a weight, (outputs, inputs · kernel): what each output is made
    from.

    Args:
        columns: so many at least suffice.
    """
    if layout.transposed and layout.groups == 1 and values.dim() == 2:
        return [values[:columns].T]
    return list(layout.to_matrices(values)[..., :columns].unbind())


def read_columns(values: Tensor, layout: WeightLayout) -> Tensor | None:
    """What each input of a weight goes to, (inputs, some numbers); None if that is not one axis."""
    if layout.inputs != 1 or layout.parts:
        return None
    if layout.transposed:
        return values.reshape(len(values), -1)[:, :_FIRST]
    groups, outputs, inputs = layout.tap_shape
    matrices = layout.to_matrices(values)[:, :_FIRST]
    taps = matrices.reshape(groups, min(outputs, _FIRST), inputs, -1)
    return taps.transpose(1, 2).reshape(groups * inputs, -1)


def list_maps(values: Tensor, layout: WeightLayout) -> list[tuple[str, Tensor, WeightLayout]]:
    """The single maps of a weight, with the names of the parts that it packs."""
    if not layout.parts:
        return [("", values, layout)]
    return [(part.name, part.read(values), part.layout) for part in layout.parts]


def list_blocks(
    values: Tensor, layout: WeightLayout, columns: int | None = None
) -> list[tuple[str, Tensor]]:
    """The matrices whose rows are units of one kind: one for each group of each map."""
    return [
        (name, rows)
        for name, numbers, single in list_maps(values, layout)
        for rows in read_rows(numbers, single, columns)
    ]
