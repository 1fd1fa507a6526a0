"""F013: units that are equal, and that training cannot tell apart.

Two units whose incoming weights are equal compute the same. They separate if what comes after them
treats them differently, since then their gradients differ; if it does not, they stay equal for
ever, and a layer of a hundred units is worth one. Which of the two holds is tried on a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.incoming_rows import EqualUnits, find_equal_units
from fanin.diagnosis.findings.rehearsal import STEPS, Changes, rehearse
from fanin.diagnosis.findings.unit_readers import UnitReaders
from fanin.diagnosis.patch import Patch

CODE = "F013"

SEPARATE = 1e-4
"""Equal rows differ after some steps by rounding errors of 1e-6; rows that separate, by about 1,
though two of many may be close by chance in one step."""
MUCH = 0.1
"""From this share of a layer's units on, the loss of width is an error."""
MOST = 0.25
"""Equal units that separate are a defect from this share on: a few may be meant, as in nets that
were widened by copies of units."""
FEW_NUMBERS = 4
"""Rows with fewer numbers that are not 0, as those of an identity, may be equal on purpose. So may
rows that differ in their sign, as in looks-linear starts."""


@dataclass(frozen=True)
class _StuckUnits:
    """Units of one map that stayed equal."""

    equal: EqualUnits
    count: int
    worth: int
    """How many different units they are."""

    @property
    def share(self) -> float:
        return self.count / self.equal.units


def find_identical_units(examination: Examination) -> Iterator[Finding]:
    """Equal units that stay equal (errors), and layers that start with equal ones (warnings)."""
    equal = find_equal_units(examination)
    if not equal:
        return
    readers = UnitReaders(examination)
    doubtful = [one for one in equal if one.groups and not readers.tell_apart(one.held)]
    changes = rehearse(examination, {one.held.name for one in doubtful}) if doubtful else {}
    stuck = [
        found
        for one in doubtful
        if changes is not None and (found := _find_stuck(one, changes, readers))
    ]
    names = {one.equal.held.name for one in stuck}
    apart = [one for one in equal if one.held.name not in names and _is_odd(one, examination)]
    if stuck:
        constant = [one for one in apart if one.held.constant is not None]
        yield _report_stuck(stuck, constant)
        apart = [one for one in apart if one not in constant]
    if apart:
        yield _report_apart(apart, tried=changes is not None)


def _find_stuck(equal: EqualUnits, changes: Changes, readers: UnitReaders) -> _StuckUnits | None:
    """The units that changed alike in all steps; None if all separate, or no gradient came."""
    steps = [equal.read_rows(change) for change in changes.get(equal.held.name, ())]
    if not steps:
        return None
    if not bool(steps[-1].any()):
        constant = equal.held.constant is not None and readers.are_constant(equal.held)
        count = sum(map(len, equal.groups))
        return _StuckUnits(equal, count, len(equal.groups)) if constant else None
    sizes: list[int] = []
    for group in equal.groups:
        signs = equal.find_signs(group)[:, None]
        sizes += _count_alike([rows[list(group)] * signs for rows in steps])
    return _StuckUnits(equal, sum(sizes), len(sizes)) if sizes else None


def _count_alike(steps: Sequence[Tensor]) -> list[int]:
    """The sizes of the groups of rows that are equal, but for rounding, in all steps. Rows that do
    not change say nothing: dead units may come alive one by one.
    """
    found = []
    moved = steps[-1].any(dim=1)
    steps = [rows[moved] for rows in steps]
    while len(steps[0]) > 1:
        same = torch.stack([_find_like_first(rows) for rows in steps]).all(dim=0)
        if int(same.sum()) > 1:
            found.append(int(same.sum()))
        steps = [rows[~same] for rows in steps]
    return found


def _find_like_first(rows: Tensor) -> Tensor:
    sizes = torch.linalg.vector_norm(rows, dim=1)
    same: Tensor = torch.linalg.vector_norm(rows - rows[0], dim=1) <= SEPARATE * (sizes + sizes[0])
    return same


def _is_odd(equal: EqualUnits, examination: Examination) -> bool:
    """Whether equal weights of units that separate are worth a warning: a layer that is constant
    and not 0, or many units that are copies of others.
    """
    if equal.held.constant is not None:
        return equal.held.constant != 0
    if equal.held.use.note and equal.held.values.dim() > 2:
        return False  # stacked maps that are equal are identical layers
    role = examination.structure and examination.structure.get_role(equal.held.layer)
    if role and "head" in role.roles:
        # Some rows of a vocabulary may start alike, such as new ones at the mean of the old.
        return _count_copies(equal) == equal.units
    return _count_copies(equal) >= MOST * equal.units


def _count_copies(equal: EqualUnits) -> int:
    """The units with the very weights of another one, the sign included."""
    rows = equal.read_rows(equal.held.values)
    count = 0
    for group in equal.row_groups:
        if int((rows[group[0]] != 0).sum()) >= FEW_NUMBERS:
            positive = int((equal.find_signs(group) > 0).sum())
            count += sum(same for same in (positive, len(group) - positive) if same > 1)
    return count


def _report_stuck(stuck: Sequence[_StuckUnits], beside: Sequence[EqualUnits]) -> Finding:
    """Units that stay equal, and constant weights beside them, which share the cause."""
    worst = max(stuck, key=lambda one: (one.share, one.equal.units))
    names = _list_names([worst.equal, *(one.equal for one in stuck), *beside])
    severity: Severity = "error" if worst.share >= MUCH else "warning"
    held = worst.equal.held
    part = f" ({worst.equal.part})" if worst.equal.part else ""
    return Finding(
        code=CODE,
        severity=severity,
        where=names[0],
        also=names[1:],
        summary=(
            f"{worst.count} of the {worst.equal.units} units of {held.name}{part} are worth "
            f"{worst.worth}: their weights are equal, and so are their gradients. They stay equal "
            "for ever."
        ),
        remedy="Draw these weights at random: then every unit gets a gradient of its own.",
        evidence={
            "units": worst.equal.units,
            "identical_units": worst.count,
            "different_units": worst.equal.units - worst.count + worst.worth,
            "constant": held.constant,
            "steps_tried": STEPS,
            "weights": len(names),
        },
        patches=(Patch(operation="initialize", parameters=names, initializer="auto"),),
    )


def _report_apart(apart: Sequence[EqualUnits], *, tried: bool) -> Finding:
    worst = max(apart, key=lambda one: (sum(map(len, one.row_groups)) / one.units, one.units))
    names = _list_names([worst, *apart])
    count = sum(map(len, worst.row_groups))
    outcome = (
        "Their biases, or what comes after them, tell them apart, so that they separate in "
        "training, but from one direction instead of many."
        if tried
        else "Whether they separate in training could not be tried."
    )
    return Finding(
        code=CODE,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=f"{count} of the {worst.units} units of {names[0]} start with the same weights. "
        + outcome,
        remedy="Draw these weights at random.",
        evidence={
            "units": worst.units,
            "identical_units": count,
            "constant": worst.held.constant,
            "weights": len(names),
        },
        patches=(Patch(operation="initialize", parameters=names, initializer="auto"),),
    )


def _list_names(found: Sequence[EqualUnits]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.held.name for one in found))
