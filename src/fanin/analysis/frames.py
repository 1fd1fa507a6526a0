"""Frames: a plan and its results as pandas tables, nothing aggregated and nothing left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fanin.errors import MissingExtra

try:
    import pandas as pd
except ModuleNotFoundError:
    raise MissingExtra("pandas", "study", "A frame of results") from None

if TYPE_CHECKING:
    from fanin.study.plan import Plan, PlannedCell
    from fanin.study.result import Result

FACTORS: dict[str, str] = {
    "model": "model",
    "data": "data",
    "activation": "activation",
    "optimizer": "optimizer",
    "learning_rate": "learning_rate",
    "batch_size": "batch_size",
    "max_epochs": "epochs",
    "protocol": "protocol",
    "precision": "precision",
    "initializer": "initializer",
}
"""Column → the cell's field. Cells that agree in all of these differ in their randomness only: they are replicates."""

OUTCOMES = ("ok", "diverged", "failed", "killed", "missing")

_PROVENANCE = ("cell", "block", "environment", "message")


def cells_frame(plan: Plan, results: Mapping[str, Result]) -> pd.DataFrame:
    """One row per planned cell, in the plan's order.

    Columns: the `FACTORS` (a label where the plan gives one), replicate, outcome (``missing`` where there is no result), each
    metric that any result has (nan elsewhere), seconds, and where it comes from: cell, block, environment, message.
    """
    names = shown_names(plan)
    rows = [_row(planned, results.get(planned.cell.id), names) for planned in plan.cells]
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    columns = [*FACTORS, "replicate", "outcome", *metrics, "seconds", *_PROVENANCE]
    frame = pd.DataFrame([row["fields"] | row["metrics"] for row in rows], columns=pd.Index(columns))
    return frame.astype(dict.fromkeys([*metrics, "seconds"], "float64"))


def history_frame(plan: Plan, results: Mapping[str, Result]) -> pd.DataFrame:
    """One row per cell and epoch (from 1): the `FACTORS`, replicate, cell, outcome, epoch, and the history's columns."""
    names = shown_names(plan)
    leading = [*FACTORS, "replicate", "cell", "outcome", "epoch"]
    parts = [
        pd.DataFrame({**_identity(planned, names), "outcome": result.outcome, **_epochs(result)})
        for planned in plan.cells
        if (result := results.get(planned.cell.id)) is not None and any(result.history.values())
    ]
    if not parts:
        return pd.DataFrame(columns=pd.Index(leading))
    frame = pd.concat(parts, ignore_index=True)
    return frame[[*leading, *(name for name in frame.columns if name not in leading)]]


def shown_names(plan: Plan) -> dict[tuple[str, Any], Any]:
    """(column, the cell's value) → what tables show for it: its label, or the value itself.

    A label that stands for more than one value of its axis is shown together with the value, and a value with more than one
    label is shown as it is, so that different cells never look like replicates of one another.
    """
    labels: defaultdict[tuple[str, Any], dict[str, None]] = defaultdict(dict)
    for planned in plan.cells:
        for column, field in FACTORS.items():
            value = getattr(planned.cell, field)
            labels[column, value][planned.labels.get(field, str(_plain(value)))] = None
    meanings: defaultdict[tuple[str, str], int] = defaultdict(int)
    for (column, _), given in labels.items():
        for label in given:
            meanings[column, label] += 1
    return {(column, value): _shown(value, list(given), meanings, column) for (column, value), given in labels.items()}


def _shown(value: Any, labels: list[str], meanings: Mapping[tuple[str, str], int], column: str) -> Any:
    plain = _plain(value)
    if len(labels) > 1 or labels[0] == str(plain):
        return plain
    return labels[0] if meanings[column, labels[0]] == 1 else f"{labels[0]} = {plain}"


def _row(planned: PlannedCell, result: Result | None, names: dict[tuple[str, Any], Any]) -> dict[str, dict[str, Any]]:
    fields = _identity(planned, names) | {
        "outcome": result.outcome if result else "missing",
        "seconds": result.timings.get("total") if result else None,
        "block": planned.cell.block,
        "environment": result.environment_key if result else "",
        "message": result.message if result else "",
    }
    return {"fields": fields, "metrics": dict(result.metrics) if result else {}}


def _identity(planned: PlannedCell, names: dict[tuple[str, Any], Any]) -> dict[str, Any]:
    cell = planned.cell
    shown = {column: names[column, getattr(cell, field)] for column, field in FACTORS.items()}
    return shown | {"replicate": cell.replicate, "cell": cell.id}


def _epochs(result: Result) -> dict[str, list[Any]]:
    length = max(len(column) for column in result.history.values())
    padded = {name: [*column, *[None] * (length - len(column))] for name, column in result.history.items()}
    return {"epoch": list(range(1, length + 1)), **padded}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return "" if value is None else value
