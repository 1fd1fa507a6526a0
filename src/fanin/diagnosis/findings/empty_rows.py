"""F016: a part of a weight's rows that is 0, beside rows that were drawn.

Units without incoming weights are the same for every input. Before a ReLU they have no slope
either, so that they never change; elsewhere they are copies of one another at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.drawn_numbers import describe_draw, is_random
from fanin.diagnosis.findings.equal_rows import list_blocks
from fanin.diagnosis.findings.unfilled_rows import find_unfilled_rows
from fanin.diagnosis.held_parameters import HeldParameter
from fanin.diagnosis.patch import Patch

CODE = "F016"

MANY = 0.1
"""The share of rows; a few may be padding."""
LEAST_ROWS = 4


def find_empty_rows(examination: Examination) -> Iterator[Finding]:
    """One finding for all weights of which some rows are 0 and the others drawn."""
    told = {finding.where for finding in find_unfilled_rows(examination)}
    found = [
        (one, rows)
        for one in examination.held
        if one.is_weight and one.trainable and one.name not in told
        if (rows := _find_rows(one)) is not None
    ]
    if found:
        yield _report(found)


def _find_rows(held: HeldParameter) -> Tensor | None:
    """Which rows are 0; None if too few or all are, or if the others follow a pattern."""
    if held.constant is not None or not held.finite:
        return None
    blocks = list_blocks(held.values, held.layout)
    if len(blocks) != 1 or len(blocks[0][1]) < LEAST_ROWS:
        return None
    rows = blocks[0][1]
    empty = ~rows.any(dim=1)
    share = float(empty.float().mean())
    return empty if MANY <= share < 1 and is_random(rows[~empty]) else None


def _report(found: Sequence[tuple[HeldParameter, Tensor]]) -> Finding:
    worst, rows = max(found, key=lambda one: float(one[1].float().mean()))
    names = tuple(dict.fromkeys([worst.name, *(one.name for one, _ in found)]))
    return Finding(
        code=CODE,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"{int(rows.sum())} of the {len(rows)} rows of {worst.name} are 0, and the others are "
            "drawn: these units do not see their inputs."
        ),
        remedy="Draw all rows alike.",
        evidence={"empty rows": int(rows.sum()), "rows": len(rows), "weights": len(names)},
        patches=tuple(_draw_anew(held, empty) for held, empty in found),
    )


def _draw_anew(held: HeldParameter, empty: Tensor) -> Patch:
    """As the rows that are not 0."""
    rows = list_blocks(held.values, held.layout)[0][1]
    spec = describe_draw(rows[~empty])
    first, last = (int(one) for one in torch.nonzero(empty).flatten()[[0, -1]])
    whole = last - first + 1 == int(empty.sum()) and rows.shape[0] == held.values.shape[0]
    bounds = (first, last + 1) if whole else None
    return Patch(operation="initialize", parameters=(held.name,), initializer=spec, rows=bounds)
