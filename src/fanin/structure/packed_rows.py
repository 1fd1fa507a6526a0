"""Which outputs of a packed layer are which of its parts, by gradients.

A packed layer makes several things at once, and views, rotations, normalizations and reorderings
lie between its output and where these are used. The gradient of a number that depends on all of one
part, taken at the layer's output, is zero exactly where the output does not belong to that part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from fanin.structure.graph import Node
from fanin.structure.signal_graph import SignalGraph
from fanin.structure.structure_records import PackedRows

Part = tuple[str, int, Set[int]]
"""A name, the node where it is used, and the layers that it comes from."""
Ranges = tuple[tuple[int, int], ...]

REST = "rest"


def find_packed_rows(
    view: SignalGraph, values: Mapping[int, Tensor], parts: Iterable[Part]
) -> list[PackedRows]:
    """Of each layer that several of these parts come from, or whose outputs one part uses some of,
    which outputs are which.

    Args:
        values: the tensors of a forward pass. Without gradients the parts are named, and no rows.
        parts: a layer that is called several times may have a part of one name for each call.
    """
    masks: dict[str, dict[str, list[Tensor | None]]] = {}
    for part in parts:
        for layer in part[2]:
            own = masks.setdefault(view.get_name(layer), {}).setdefault(part[0], [])
            own.append(_find_dependence(view, values, part, layer))
    found = (_pack(name, own) for name, own in masks.items())
    return [packed for packed in found if packed is not None]


def pack_halves(
    view: SignalGraph, values: Mapping[int, Tensor], layer: int, names: tuple[str, str]
) -> PackedRows:
    """A layer whose outputs are two halves by definition, as before a GLU."""
    output = values.get(layer)
    if output is None:
        return PackedRows(view.get_name(layer), names, None)
    size = output.shape[get_unit_axis(view.nodes[layer], output)]
    return PackedRows(view.get_name(layer), names, (((0, size // 2),), ((size // 2, size),)))


def get_unit_axis(node: Node, output: Tensor) -> int:
    """The axis of a layer's output that its units lie along."""
    if isinstance(node.module, _ConvNd) and (node.used_by or "conv").startswith("conv"):
        return output.dim() - len(node.module.kernel_size) - 1
    return output.dim() - 1


def _find_dependence(
    view: SignalGraph, values: Mapping[int, Tensor], part: Part, layer: int
) -> Tensor | None:
    """Of each output of a layer, whether a part depends on it; None where no gradient flows."""
    _, signal, layers = part
    used, output = values.get(signal), values.get(layer)
    if used is None or output is None or not used.requires_grad or not output.requires_grad:
        return None
    others = [
        value
        for other in layers
        if other != layer and (value := values.get(other)) is not None and value.requires_grad
    ]
    try:
        gradient = _differentiate(used, output, others)
    except RuntimeError:  # what the pass saved was changed in place
        return None
    if gradient is None or gradient.is_meta:
        return None
    axis = get_unit_axis(view.nodes[layer], output)
    return gradient.ne(0).movedim(axis, -1).flatten(0, -2).any(0)


def _differentiate(used: Tensor, output: Tensor, others: Iterable[Tensor]) -> Tensor | None:
    """The gradient of a sum that depends on all of `used`; no gradient flows through `others`."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for other in others:
            handle = other.register_hook(torch.zeros_like)
            stack.callback(handle.remove)
        weights = torch.arange(used.numel(), dtype=torch.float32, device=used.device)
        # Positive, and different from element to element: nothing cancels by symmetry.
        projection = (1.5 + torch.cos(weights.mul(1.7))).view(used.shape).to(used.dtype)
        total = used.real.mul(projection.real).sum()
        (gradient,) = torch.autograd.grad(total, output, retain_graph=True, allow_unused=True)
    return gradient


def _pack(name: str, parts: Mapping[str, Sequence[Tensor | None]]) -> PackedRows | None:
    """The rows of each part; None if one part uses the whole layer, or parts overlap."""
    names = list(parts)
    known = {key: [mask for mask in own if mask is not None] for key, own in parts.items()}
    if not all(known.values()):
        return PackedRows(name, tuple(names), None) if len(names) > 1 else None
    masks = [torch.stack(own).any(0) for own in known.values()]
    used = torch.stack(masks).sum(0)
    if bool((used > 1).any()) or (len(names) == 1 and bool(used.all())) or not bool(used.any()):
        return None
    rows = [_list_ranges(mask) for mask in masks]
    if not bool(used.all()):
        names.append(REST)
        rows.append(_list_ranges(used == 0))
    order = sorted(range(len(names)), key=lambda place: rows[place][:1])
    return PackedRows(
        name, tuple(names[place] for place in order), tuple(rows[place] for place in order)
    )


def _list_ranges(mask: Tensor) -> Ranges:
    """The ranges (start, stop) where a mask is true."""
    steps = torch.diff(mask.to(torch.int8), prepend=torch.zeros(1), append=torch.zeros(1))
    starts = (steps == 1).nonzero().flatten().tolist()
    stops = (steps == -1).nonzero().flatten().tolist()
    return tuple(zip(starts, stops, strict=True))
