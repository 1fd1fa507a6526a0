"""Frames: a plan and its results as pandas tables, without aggregation or omission."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from fanin.errors import MissingExtra

try:
    import pandas as pd
except ModuleNotFoundError:
    raise MissingExtra("pandas", "study", "A frame of results") from None

from fanin.analysis.factors import (
    FACTORS,
    LEADING,
    SEEDS,
    identify_levels,
    list_option_axes,
    name_levels,
    read_levels,
)

if TYPE_CHECKING:
    from fanin.cell.plan import Plan, PlannedCell
    from fanin.cell.result import Result

OUTCOMES = ("ok", "diverged", "failed", "killed", "missing")

PROVENANCE = ("cell", "block", "environment", "fingerprint", "message")
"""Columns that tell a row's origin."""


def build_frame(plan: Plan, results: Mapping[str, Result]) -> pd.DataFrame:
    """One row per planned cell, in the plan's order.

    Columns: the `LEADING` factors (the plan's label if it gives one), replicate, outcome
    (``missing`` without a result), each metric that any result has (nan in the others), seconds,
    the `PROVENANCE`, the other `FACTORS`, a column per axis that is an option (``model.depth``; ""
    for a cell without that option), and the `SEEDS` ("" if derived).

    ``frame.attrs["directions"]`` says which way users' metrics are better, as results recorded it.
    """
    identify = _Identifier(plan)
    rows = [_make_row(planned, results.get(planned.cell.id), identify) for planned in plan.cells]
    dotted = identify.dotted
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    later = [name for name in FACTORS if name not in LEADING]
    columns = [
        *LEADING,
        "replicate",
        "outcome",
        *metrics,
        "seconds",
        *PROVENANCE,
        *later,
        *dotted,
        *SEEDS,
    ]
    frame = pd.DataFrame(
        [row["fields"] | row["metrics"] for row in rows], columns=pd.Index(columns)
    )
    frame = frame.astype(
        {
            **dict.fromkeys([*metrics, "seconds"], "float64"),
            **dict.fromkeys([*dotted, *SEEDS], "object"),
        }
    )
    frame.attrs["directions"] = _collect_directions(plan, results)
    shown = (row["fields"]["data"] for row in rows)
    specs = (planned.cell.data for planned in plan.cells)
    frame.attrs["datasets"] = dict(zip(shown, specs, strict=True))
    return frame


def build_history(plan: Plan, results: Mapping[str, Result]) -> pd.DataFrame:
    """One row per cell and epoch (from 1): the factors, replicate, cell, outcome, epoch, and the
    history's columns.
    """
    identify = _Identifier(plan)
    leading = [*FACTORS, *identify.dotted, "replicate", "cell", "outcome", "epoch"]
    parts = [
        pd.DataFrame({**identify(planned), "outcome": result.outcome, **_pad_history(result)})
        for planned in plan.cells
        if (result := results.get(planned.cell.id)) is not None and any(result.history.values())
    ]
    if not parts:
        return pd.DataFrame(columns=pd.Index(leading))
    frame = pd.concat(parts, ignore_index=True)
    return frame[[*leading, *(name for name in frame.columns if name not in leading)]]


def _make_row(
    planned: PlannedCell, result: Result | None, identify: _Identifier
) -> dict[str, dict[str, Any]]:
    cell = planned.cell
    fields = identify(planned) | {
        "outcome": result.outcome if result else "missing",
        "seconds": result.timings.get("total") if result else None,
        "block": cell.block,
        "environment": result.environment_key if result else "",
        "fingerprint": result.fingerprint if result else "",
        "message": result.message if result else "",
        **{name: "" if (seed := getattr(cell, name)) is None else seed for name in SEEDS},
    }
    return {"fields": fields, "metrics": dict(result.metrics) if result else {}}


class _Identifier:
    """Tells what a frame shows of a planned cell: its factors by name, its replicate and id."""

    def __init__(self, plan: Plan) -> None:
        self._names, self.dotted = name_levels(plan), list_option_axes(plan)
        self._shown: dict[Hashable, dict[str, Any]] = {}

    def __call__(self, planned: PlannedCell) -> dict[str, Any]:
        key = identify_levels(planned)
        if key not in self._shown:  # once for all replicates of a condition
            self._shown[key] = {
                column: self._names[column, value]
                for column, value in read_levels(planned, self.dotted).items()
            }
        return self._shown[key] | {"replicate": planned.cell.replicate, "cell": planned.cell.id}


def _collect_directions(plan: Plan, results: Mapping[str, Result]) -> dict[str, str]:
    """Metric, without ``val_`` or ``test_`` → ``max`` or ``min``."""
    found = (results[planned.cell.id] for planned in plan.cells if planned.cell.id in results)
    given = (result.data.get("metrics") for result in found)
    return {
        str(name): str(way)
        for ways in given
        if isinstance(ways, Mapping)
        for name, way in ways.items()
    }


def _pad_history(result: Result) -> dict[str, list[Any]]:
    length = max(len(column) for column in result.history.values())
    padded = {
        name: [*column, *[None] * (length - len(column))] for name, column in result.history.items()
    }
    return {"epoch": list(range(1, length + 1)), **padded}
