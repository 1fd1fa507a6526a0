"""F016: parameters that nobody filled: memory of ``torch.empty``, as it was found.

Such memory reads as zeros, as numbers without any common size, or as no numbers at all. A whole
parameter of zeros is not told from one that is zero by design; that is another finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fanin.apply.previous_values import ABSURD, TINY
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.drawn_numbers import describe_draw
from fanin.diagnosis.held_parameters import HeldParameter
from fanin.diagnosis.patch import Patch

CODE = "F016"

_MOST_ZEROS = 0.5
_RUBBISH = 0.05
"""Where most numbers are 0, so large a share of tiny ones among the others is no trace of training:
weights that a model has pruned are of ordinary size. Elsewhere tiny numbers are ordinary: weight
decay shrinks dead units."""
_FEW = 2
"""Constants such as -inf or -1e12, which forbid something, are the same number everywhere."""


def find_unfilled_parameters(examination: Examination) -> Iterator[Finding]:
    """One finding for all parameters whose numbers are rubbish."""
    found = [(one, why) for one in examination.held if (why := describe_rubbish(one))]
    if not found:
        return
    worst, why = found[0]
    names = tuple(one.name for one, _ in found)
    yield Finding(
        code=CODE,
        severity="error",
        where=names[0],
        also=names[1:],
        summary=f"{worst.name} was never filled: {why}.",
        remedy="Initialize it where it is made: torch.empty leaves the memory as it was.",
        evidence={
            "smallest": worst.low,
            "largest": worst.high,
            "zero_share": float((worst.values == 0).double().mean()),
            "parameters": len(names),
        },
        patches=tuple(_make_patch(one) for one, _ in found),
    )


def _make_patch(held: HeldParameter) -> Patch:
    """Rows that are rubbish are drawn like the others; a whole parameter by its role."""
    names = (held.name,)
    if held.role in _NEUTRAL:
        return Patch(operation="set", parameters=names, value=_NEUTRAL[held.role])
    if held.values.dim() == 2 and (rows := _find_rows(held.values)) is not None:
        sound = torch.cat([held.values[: rows[0]], held.values[rows[1] :]])
        spec = describe_draw(sound)
        return Patch(operation="initialize", parameters=names, initializer=spec, rows=rows)
    width = held.values.shape[-1] if held.values.dim() else 1
    spec = "auto" if held.is_weight else f"normal(std={1 / math.sqrt(width):.4g})"
    return Patch(operation="initialize", parameters=names, initializer=spec)


def _find_rows(values: Tensor) -> tuple[int, int] | None:
    """The range of rows that are rubbish, if it is the smaller part."""
    odd = (~values.isfinite() | _is_absurd(values)).any(dim=1).nonzero().flatten().tolist()
    found = (odd[0], odd[-1] + 1) if odd else (0, len(values))
    return found if 2 * (found[1] - found[0]) < len(values) else None


def _is_absurd(values: Tensor) -> Tensor:
    sizes = values.abs()
    return (sizes >= ABSURD) | ((sizes < TINY) & (values != 0))


_NEUTRAL = {"bias": 0.0, "recurrent bias": 0.0, "norm scale": 1.0, "norm offset": 0.0}


def describe_rubbish(held: HeldParameter) -> str:
    """What is odd about the numbers; empty if they are in order."""
    if held.finite and TINY <= held.largest < ABSURD:
        return _describe_sparse_rubbish(held) if _is_mostly_zero(held) else ""
    if held.largest == 0:
        return ""
    values = held.values[held.values.isfinite()]
    odd = values[_is_absurd(values)]
    if held.finite and held.largest < TINY:
        return f"its largest number is {held.largest:.3g}"
    if len(odd.unique()) >= _FEW:
        return f"it has numbers such as {_pick_extreme(odd):.3g}"
    return ""


def _is_mostly_zero(held: HeldParameter) -> bool:
    sample = held.sample
    return len(sample) > 1 and float((sample == 0).double().mean()) > _MOST_ZEROS


def _describe_sparse_rubbish(held: HeldParameter) -> str:
    values = held.values[held.values != 0].double()
    tiny = values[values.abs() < TINY]
    if len(tiny) >= _FEW and len(tiny) > _RUBBISH * len(values):
        return f"most of it is 0, and {len(tiny):,} numbers are such as {float(tiny[0]):.3g}"
    return ""


def _pick_extreme(values: Tensor) -> float:
    """The number whose size is the oddest."""
    sizes = values.double().abs().log10().abs()
    found = float(values[int(sizes.argmax())])
    return found if math.isfinite(found) else math.inf
