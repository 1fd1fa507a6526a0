"""F016: rows of an embedding or head that were never filled, or not like the others.

A vocabulary that grew has new rows at its end. If nobody initialized them they are 0, or drawn with
a standard deviation that has nothing to do with that of the old rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.drawn_numbers import describe_draw
from fanin.diagnosis.findings.unfilled_parameters import describe_rubbish
from fanin.diagnosis.held_parameters import HeldParameter
from fanin.diagnosis.patch import Patch

CODE = "F016"

FACTOR = 3.0
"""The old rows of trained embeddings differ from one another by less than this; a fresh N(0, 1) or
N(0, 0.02) differs from them by more."""
_LEAST_ROWS = 16
_LEAST_WIDTH = 8
_LEAST_NUMBERS = 64
"""The standard deviation of so many numbers is known to 9 %."""
_OUTLIERS = 0.01
"""So many of the old rows may be as far off as the new ones: tokens that were never trained."""
_AT_MEAN = 0.3
"""New rows that are so close to the mean of the old ones, as a part of its size, were put there on
purpose."""


@dataclass(frozen=True)
class _OddRows:
    start: int
    stop: int
    count: int
    what: str
    ratio: float


def find_unfilled_rows(examination: Examination) -> Iterator[Finding]:
    """One finding for each embedding or head."""
    for held in examination.held:
        if (
            _has_classes(held, examination)
            and held.finite
            and held.largest > 0
            and not describe_rubbish(held)
        ):
            found = _find_zero_rows(held) or _find_odd_tail(held)
            if found:
                yield _report(held, found)


def _has_classes(held: HeldParameter, examination: Examination) -> bool:
    """Whether its rows are tokens or classes."""
    values = held.values
    if values.dim() != 2 or len(values) < _LEAST_ROWS or values.shape[1] < _LEAST_WIDTH:
        return False
    if held.role == "embedding":
        return True
    role = examination.structure and examination.structure.get_role(held.layer)
    return bool(
        role and "head" in role.roles and held.role == "weight" and not held.layout.transposed
    )


def _find_zero_rows(held: HeldParameter) -> _OddRows | None:
    """Rows of zeros, without the one of the padding token."""
    zero = (_measure_rows(held.values) == 0).nonzero().flatten().tolist()
    padding = getattr(held.use.module, "padding_idx", None)
    zero = [row for row in zero if row != padding]
    padding_of_its_own = len(zero) == 1 and zero[0] != len(held.values) - 1
    if not zero or padding_of_its_own or len(zero) == len(held.values):
        return None
    contiguous = zero[-1] - zero[0] + 1 == len(zero)
    where = f"rows {zero[0]} to {zero[-1]}" if len(zero) > 1 else f"row {zero[0]}"
    what = f"{where} are 0" if contiguous else f"{len(zero)} of {len(held.values)} rows are 0"
    start, stop = (zero[0], zero[-1] + 1) if contiguous else (0, 0)
    return _OddRows(start, stop, len(zero), what, 0.0)


def _find_odd_tail(held: HeldParameter) -> _OddRows | None:
    """The last rows, if all are larger or all smaller than nearly all rows before them."""
    sizes = _measure_rows(held.values).double()
    kept = sizes > 0
    logs = torch.where(kept, sizes.clamp_min(1e-300).log(), torch.nan)
    cut = _find_cut(logs, held.values.shape[1])
    if cut is None:
        return None
    body, tail = held.values[:cut], held.values[cut:]
    if _is_at_mean(body, tail):
        return None
    ratio = float((logs[cut:].nanmean() - logs[:cut].nanmean()).exp())
    what = f"the last {len(tail)} rows are {_format_ratio(ratio)} than the others"
    return _OddRows(cut, len(sizes), len(tail), what, ratio)


def _find_cut(logs: Tensor, width: int) -> int | None:
    """Where the last rows begin to be of another size, if anywhere in the second half."""
    rows = len(logs)
    edges = torch.tensor([_OUTLIERS, 1 - _OUTLIERS], dtype=torch.float64)
    low, high = torch.nanquantile(logs[: rows // 2], edges)
    step = math.log(FACTOR)
    middle = logs[: rows // 2].nanmedian()
    for outside in (
        (logs < low) & (logs < middle - step),
        (logs > high) & (logs > middle + step),
    ):
        inside = (~outside).nonzero().flatten()
        cut = int(inside[-1]) + 1 if len(inside) else 0
        tail = rows - cut
        if rows // 2 <= cut < rows and tail * width >= _LEAST_NUMBERS:
            share = float(outside[:cut].double().mean())
            if share <= _OUTLIERS:
                return cut
    return None


def _is_at_mean(body: Tensor, tail: Tensor) -> bool:
    """Whether the last rows are close to the mean of the others, a sound start for new tokens."""
    mean = body.float().mean(dim=0)
    away = (tail.float() - mean).square().sum(dim=1).mean().sqrt()
    return bool(away < _AT_MEAN * mean.norm())


def _measure_rows(values: Tensor) -> Tensor:
    sizes: Tensor = torch.linalg.vector_norm(values, dim=1) / math.sqrt(values.shape[1])
    return sizes


def _format_ratio(ratio: float) -> str:
    return f"{ratio:.3g} times larger" if ratio > 1 else f"{1 / ratio:.3g} times smaller"


def _report(held: HeldParameter, found: _OddRows) -> Finding:
    others = held.values[: found.start] if found.start >= _LEAST_ROWS else held.values
    patches = (
        (
            Patch(
                operation="initialize",
                parameters=(held.name,),
                initializer=describe_draw(others),
                rows=(found.start, found.stop),
            ),
        )
        if found.stop
        else ()
    )
    return Finding(
        code=CODE,
        severity="warning",
        where=held.name,
        summary=f"In {held.name}, {found.what}.",
        remedy=(
            "Draw new rows like the old ones: with their mean and standard deviation. Those of a "
            "vocabulary that grew are not initialized by themselves."
        ),
        evidence={
            "rows": len(held.values),
            "odd_rows": found.count,
            "first_odd_row": found.start if found.stop else None,
            "ratio": found.ratio,
        },
        patches=patches,
    )
