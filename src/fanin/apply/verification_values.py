"""The numbers that a parameter holds now, and whether they are those that were recorded."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from fanin.apply import reparametrization
from fanin.apply.fill import find_padding_rows, write_through
from fanin.apply.model_parameters import ParameterUse
from fanin.apply.redraw import flatten

ROUNDINGS = (torch.bfloat16, torch.float16)
"""What weights are rounded to on their way through a checkpoint or a cast."""
_TOLERANCE = 1e-5
"""Relative to the root mean square: what another machine's erf or sum may differ by."""
_LOOSE = 1e-3
"""The same where matrices are factorized, or weights computed from others."""
_COARSE = 1e-4
"""A dtype of a larger relative step than this can hide small changes."""
_FLIPPED = 0.01
"""In a coarse dtype at most this share may round the other way."""


def read_values(use: ParameterUse) -> Tensor | str:
    """The whole parameter on the CPU, gathered if it is sharded; or why there is none, in words.

    Of a sharded parameter every process must ask, as in a forward pass.
    """
    found: Tensor = use.parameter
    if is_lazy(found):
        return "it has no shape yet (a lazy parameter)"
    if found.is_meta:
        return "it has no memory (device meta)"
    if use.through:
        found = reparametrization.read(use.module, use.local)
    if hasattr(found, "full_tensor"):  # a DTensor
        found = found.full_tensor()
    if not (found.is_floating_point() or found.is_complex()) or found.is_quantized:
        return f"it holds {str(found.dtype).removeprefix('torch.')}, which is no weight as drawn"
    return found.detach().cpu()


def complete_redraw(group: Sequence[ParameterUse], drawn: Tensor, seed: int) -> Tensor | None:
    """What a draw becomes in its place: padding rows are zero, and a reparametrized weight is as
    near to it as its parametrization allows, which is tried on a copy of the layer. None if that
    fails.
    """
    use = group[0]
    for row in (row for each in group for row in find_padding_rows(each)):
        drawn[row] = 0
    if not use.through:
        return drawn
    try:
        copied, on_device = copy.deepcopy(use.module), drawn.to(use.parameter.device)
        values = write_through(copied, use.local, use.bare_name, on_device, seed)
    except Exception:  # a user's parametrization, or a layer that cannot be copied
        return None
    return values.detach().cpu()


def drop_padding(group: Sequence[ParameterUse], values: Tensor) -> Tensor:
    """The values without the rows that stand for padding, which are not drawn."""
    rows = {row % len(values) for each in group for row in find_padding_rows(each)}
    return values[[row for row in range(len(values)) if row not in rows]] if rows else values


def find_precision(values: Tensor) -> torch.dtype:
    """The dtype of the values, or the coarser one that they were rounded to on their way."""
    for between in ROUNDINGS if not values.dtype.is_complex else ():
        if _are_equal(values, values.to(between).to(values.dtype)):
            return between
    return values.dtype


def compare_numbers(values: Tensor, recorded: Tensor, *, loose: bool) -> str | None:
    """How the values are the recorded ones, in words; None if they are not."""
    dtype = values.dtype
    expected = recorded.to(dtype)
    name = str(dtype).removeprefix("torch.")
    if _are_equal(values, expected):
        return "to the bit" if dtype == recorded.dtype else f"to the bit, in {name}"
    for between in ROUNDINGS if not dtype.is_complex else ():
        if _are_equal(values, recorded.to(between).to(dtype)):
            return f"rounded to {str(between).removeprefix('torch.')}"
    return f"up to rounding, in {name}" if _are_near(values, expected, loose=loose) else None


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(_widen(one), _widen(other))


def _widen(values: Tensor) -> Tensor:
    """Numbers of 8 bits as floats, which torch can compare."""
    return values.float() if values.dtype.itemsize == 1 else values


def _are_near(values: Tensor, expected: Tensor, *, loose: bool) -> bool:
    one, other = flatten(_widen(values)), flatten(_widen(expected))
    step = torch.finfo(values.dtype).eps
    scale = float(other.square().mean().sqrt())
    allowed = step * other.abs() + (_LOOSE if loose else _TOLERANCE) * scale
    difference = (one - other).abs()
    if not bool((difference <= allowed).all()):  # not for NaN either
        return False
    return step <= _COARSE or float((difference > 0).double().mean()) <= _FLIPPED
