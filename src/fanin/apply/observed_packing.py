"""Packed maps in layers that do not say so: q, k and v, or gate and up-projection, in one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from fanin import structure
from fanin.apply.bare_model import remove_wrappers
from fanin.apply.fully_sharded import suspend_gathering
from fanin.apply.model_parameters import ParameterUse
from fanin.errors import FaninError
from fanin.fans import WeightLayout, pack
from fanin.fans.packing import find_output_axis
from fanin.structure import ModelStructure, PackedRows

_PART_NAMES = {"query": "q", "key": "k", "value": "v", "gate": "gate", "up": "up"}


def describe_packing(
    model: nn.Module,
    uses: Sequence[ParameterUse],
    batch: Any,
    told: Collection[str],
    known: ModelStructure | None = None,
) -> tuple[ParameterUse, ...]:
    """The uses, with the parts of each layer that one forward pass on the batch shows to be packed.

    Which rows are which is read off gradients (`fanin.structure.describe_structure`): contiguous,
    or alternating by head. Without a batch nothing is looked at; `split` tells it then. A batch
    that the model does not take shows nothing. Parameters that are told by name are left alone.
    `known` is what was found out before.
    """
    asked = {use.name for use in uses if could_be_packed(use)} - set(told)
    if batch is None or not asked:
        return tuple(uses)
    packed = known.packed if known is not None else _find_packed(model, batch)
    by_layer = {rows.layer: rows for rows in packed}
    return tuple(divide_use(use, by_layer) if use.name in asked else use for use in uses)


def _find_packed(model: nn.Module, batch: Any) -> tuple[PackedRows, ...]:
    try:
        with suspend_gathering(model, observed=True), remove_wrappers(model) as bare:
            return structure.describe_structure(bare, batch).packed
    except FaninError:
        return ()


def could_be_packed(use: ParameterUse) -> bool:
    """Whether a use is a matrix, or its bias, that is one map as far as its layer says."""
    return (
        use.role in ("weight", "bias")
        and not use.layout.parts
        and use.layout.groups == 1
        and len(use.layout.shape) <= 2
    )


def divide_use(use: ParameterUse, by_layer: Mapping[str, PackedRows]) -> ParameterUse:
    """The use with the parts of its layer; as it is if the layer packs none."""
    rows = by_layer.get(use.bare_name.rpartition(".")[0])
    if rows is None:
        return use
    total = use.layout.shape[find_output_axis(use.layout)]
    found = read_pattern(rows, total)
    if found is None:
        return use
    sizes, repeats = found
    layout: WeightLayout = pack(use.layout, sizes, repeats=repeats)
    found_as = use.note or f" of {type(use.module).__name__}"
    return replace(use, layout=layout, note=f"{found_as}, which packs {', '.join(sizes)}")


def read_pattern(rows: PackedRows, total: int) -> tuple[dict[str, int], int] | None:
    """The sizes of the parts in one repeat, and how often they repeat; None if the rows are not
    known, belong to other parts too, or follow no such pattern.
    """
    repeats = rows.heads
    if rows.rows is None or repeats is None or not set(rows.names) <= set(_PART_NAMES):
        return None
    once, left = divmod(total, repeats)
    sizes = {
        name: ranges[0][1] - ranges[0][0]
        for name, ranges in zip(rows.names, rows.rows, strict=True)
    }
    if left or sum(sizes.values()) != once:
        return None
    for name, ranges in zip(rows.names, rows.rows, strict=True):
        start = ranges[0][0]
        size = sizes[name]
        if any(
            one != (number * once + start, number * once + start + size)
            for number, one in enumerate(ranges)
        ):
            return None
    return {_PART_NAMES[name]: size for name, size in sizes.items()}, repeats
