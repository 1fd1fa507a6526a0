"""What a tracker is told of a cell: a name that tells it apart, its parameters, its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fanin.cell.cell import FIELDS
from fanin.cell.fields import Factor
from fanin.cell.plan import PlannedCell
from fanin.cell.result import Result

_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]+")
_LONGEST = 100

Value = str | int | float | bool


@dataclass(frozen=True)
class CellRecord:
    """One run of a tracker."""

    study: str
    name: str
    """Its labels on the axes of the study, and its replicate."""
    cell: str
    """The cell's id."""
    parameters: Mapping[str, Value]
    """Factors and axes by name, the replicate and the root seed."""

    @property
    def folder(self) -> str:
        """The name as a name of a folder. Characters that are no letters or digits are replaced,
        and the cell's id keeps two such names apart.
        """
        return f"{_UNSAFE.sub('_', self.name).strip('._')[:_LONGEST] or 'cell'}-{self.cell[:8]}"


def describe_cell(study: str, planned: PlannedCell) -> CellRecord:
    """The record of a planned cell."""
    cell = planned.cell
    labels = dict(planned.labels)
    named = [
        f"{axis.rpartition('.')[2]} {label}" if "." in axis or _is_number(label) else label
        for axis, label in labels.items()
    ]
    parts = named or [cell.model, cell.data, cell.initializer]
    fields = {
        name: _to_value(getattr(cell, name))
        for name, field in FIELDS.items()
        if isinstance(field, Factor) and getattr(cell, name) is not None
    }
    parameters = {**fields, **labels, "replicate": cell.replicate, "seed": cell.seed}
    return CellRecord(study, " · ".join([*parts, f"#{cell.replicate}"]), cell.id, parameters)


def list_epochs(result: Result) -> list[dict[str, float]]:
    """The rows of a history, from epoch 1, without what was not measured."""
    count = max((len(column) for column in result.history.values()), default=0)
    return [
        {name: column[i] for name, column in result.history.items() if i < len(column)}
        for i in range(count)
    ]


def list_finals(result: Result) -> dict[str, float]:
    """The metrics of a result, and the seconds that it took."""
    seconds = result.timings.get("total")
    found = {**result.metrics, **({} if seconds is None else {"seconds": seconds})}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _to_value(value: object) -> Value:
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
