"""Divide the outputs of a layout among the maps that a parameter packs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from fanin.errors import FitError
from fanin.fans.layout import Fans, PackedPart, ViewStep, WeightLayout


def pack(layout: WeightLayout, sizes: Mapping[str, int], *, repeats: int = 1) -> WeightLayout:
    """Divide a layout along its outputs into parts of `sizes`, each a map with its own fans.

    If the parts alternate, `repeats` says how often, and the sizes are those of one repeat: rows
    ordered (head, q or k or v, head size) are ``{"q": 64, "k": 64, "v": 64}`` with repeats=12. The
    maps of a layout that has parts already, such as experts, are divided one by one.

    Raises `FitError` if the sizes do not add up to the outputs.
    """
    if not layout.parts:
        return replace(layout, parts=tuple(_list_parts(layout, sizes, repeats)))
    parts = [
        replace(
            sub,
            name=f"{part.name}.{sub.name}",
            steps=(*part.steps, *sub.steps),
            layout=replace(sub.layout, part=f"{part.name}.{sub.name}"),
            counted=False,
        )
        for part in layout.parts
        for sub in _list_parts(part.layout, sizes, repeats)
    ]
    return replace(layout, parts=tuple(parts), fans=None)


def find_output_axis(layout: WeightLayout) -> int:
    """The dimension that counts outputs."""
    return 1 if layout.transposed and len(layout.shape) > 1 else 0


def split_evenly(names: Sequence[str], size: int) -> dict[str, int]:
    """`size` divided evenly among the names."""
    return dict.fromkeys(names, size // len(names))


def _list_parts(
    layout: WeightLayout, sizes: Mapping[str, int], repeats: int
) -> Iterator[PackedPart]:
    dim = find_output_axis(layout)
    total, once = layout.shape[dim], sum(sizes.values())
    if once * repeats != total:
        times = f" and {repeats} repeats of them to {once * repeats}" if repeats > 1 else ""
        raise FitError(
            f"The parts {dict(sizes)} add up to {once}{times}; dimension {dim} of the shape "
            f"{layout.shape} has {total}."
        )
    starts = accumulate(sizes.values(), initial=0)
    for (name, size), start in zip(sizes.items(), starts, strict=False):
        part = _make_part_layout(layout, name, size * repeats, dim)
        if repeats == 1:
            yield PackedPart.slice(name, dim, start, size, part)
        else:
            divide = ViewStep("unflatten", (dim, (repeats, once)))
            yield PackedPart(name, (divide, ViewStep("narrow", (dim + 1, start, size))), part)


def _make_part_layout(layout: WeightLayout, name: str, size: int, dim: int) -> WeightLayout:
    shape = (*layout.shape[:dim], size, *layout.shape[dim + 1 :])
    found = layout.fans and Fans(layout.fans.fan_in, layout.fans.fan_out * size / layout.shape[dim])
    if found is not None and float(found.fan_out).is_integer():
        found = Fans(found.fan_in, int(found.fan_out))
    return replace(layout, shape=shape, fans=found, part=name)
