"""What the units of a layer are made from: the rows of its weights together with their biases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.apply.model_parameters import find_uses, is_matrix_like
from fanin.apply.observed_layouts import describe_by_use
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.findings.equal_rows import find_equal_rows, find_sign, list_blocks
from fanin.diagnosis.held_parameters import HeldParameter, hold_parameters

_SCREEN = 16
_PARTNERS = ("weight", "recurrent weight", "bias", "recurrent bias")
_LEVEL = re.compile(r"_l\d+(_reverse)?$")
"""What the names of one layer of a recurrent stack end with."""


@dataclass(frozen=True)
class EqualUnits:
    """Units of one map of a weight that are made from their inputs in the same way."""

    held: HeldParameter
    part: str
    block: int
    """The place of the map among the weight's `list_blocks`."""
    units: int
    """How many the map has."""
    row_groups: tuple[tuple[int, ...], ...]
    """Units whose weights are equal, each group with other ones."""
    groups: tuple[tuple[int, ...], ...]
    """Units whose biases are equal too."""

    def read_rows(self, values: Tensor) -> Tensor:
        """The rows of this map in numbers that lie as the weight's do."""
        return list_blocks(values, self.held.layout)[self.block][1]

    def find_signs(self, group: Sequence[int]) -> Tensor:
        """The sign of each unit of a group."""
        rows = self.read_rows(self.held.values)[list(group)]
        return torch.tensor([find_sign(row) for row in rows])


def find_equal_units(examination: Examination) -> list[EqualUnits]:
    """The units of every trained weight whose incoming weights are equal, also up to their sign."""
    weights = [one for one in examination.held if one.is_weight and one.trainable]
    weights += _hold_raw(examination)
    return [found for held in weights for found in _compare(held, examination.held)]


def _compare(held: HeldParameter, others: Sequence[HeldParameter]) -> Iterator[EqualUnits]:
    screened = list_blocks(held.values, held.layout, _SCREEN)
    partners = [one for one in others if _is_partner(one, held)]
    for block, (part, rows) in enumerate(screened):
        if len(rows) < 2 or not find_equal_rows(rows):
            continue
        whole = list_blocks(held.values, held.layout)[block][1]
        beside = [_read_beside(one, block, len(screened), len(whole)) for one in partners]
        incoming = torch.cat([whole, *(one for one in beside if one is not None)], dim=1)
        alike, equal = (
            tuple(map(tuple, find_equal_rows(numbers))) for numbers in (whole, incoming)
        )
        if alike:
            yield EqualUnits(held, part, block, len(whole), alike, equal)


def _is_partner(other: HeldParameter, held: HeldParameter) -> bool:
    """Whether it feeds the same units."""
    if other is held or other.use.module is not held.use.module or other.role not in _PARTNERS:
        return False
    mine, its = (_LEVEL.search(one.use.local) for one in (held, other))
    return (mine and mine.group()) == (its and its.group())


def _read_beside(other: HeldParameter, block: int, blocks: int, units: int) -> Tensor | None:
    """What another parameter gives to the units of one block; None if it does not fit."""
    if other.values.dim() >= 2:
        found = list_blocks(other.values, other.layout)
        rows = found[block][1] if len(found) == blocks else None
    else:
        parts = other.layout.parts
        numbers = parts[block].read(other.values) if len(parts) == blocks else other.values
        if len(parts) != blocks and len(numbers) == blocks * units:
            numbers = numbers.view(blocks, units)[block]
        rows = numbers.reshape(-1, 1)
    return rows if rows is not None and len(rows) == units else None


def _hold_raw(examination: Examination) -> list[HeldParameter]:
    """The matrices that no layer class describes, if some of their rows or columns are equal."""
    doubtful = {
        one.name
        for one in examination.held
        if one.role == "unknown"
        and one.trainable
        and is_matrix_like(one.values.shape)
        and _repeats(one.values)
    }
    if not doubtful:
        return []
    model = examination.model
    uses = describe_by_use(model, find_uses(model, "kernel"), examination.batch, {})
    chosen = [use for use in uses if use.bare_name in doubtful and use.role == "weight"]
    return [held for held in hold_parameters(chosen) if held.is_weight]


def _repeats(values: Tensor) -> bool:
    matrix = values.reshape(-1, values.shape[-1])
    return bool(find_equal_rows(matrix[:4096]) or find_equal_rows(matrix.T[:, :_SCREEN]))
