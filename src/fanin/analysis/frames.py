"""Frames: a plan and its results as pandas tables, without aggregation or omission."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
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
    found = [results.get(planned.cell.id) for planned in plan.cells]
    metrics = list(dict.fromkeys(name for result in found if result for name in result.metrics))
    columns = identify.list_columns() | _list_outcomes(plan, found)
    columns |= {
        name: [result.metrics.get(name) if result else None for result in found] for name in metrics
    }
    later = [name for name in FACTORS if name not in LEADING]
    order = [
        *LEADING,
        "replicate",
        "outcome",
        *metrics,
        "seconds",
        *PROVENANCE,
        *later,
        *identify.dotted,
        *SEEDS,
    ]
    frame = pd.DataFrame({name: columns[name] for name in order})
    frame = frame.astype(
        {
            **dict.fromkeys([*metrics, "seconds"], "float64"),
            **dict.fromkeys([*identify.dotted, *SEEDS], "object"),
        }
    )
    frame.attrs["directions"] = _Facts(_collect_directions(found))
    specs = (planned.cell.data for planned in plan.cells)
    frame.attrs["datasets"] = _Facts(zip(columns["data"], specs, strict=True))
    return frame


def _list_outcomes(plan: Plan, found: Sequence[Result | None]) -> dict[str, list[Any]]:
    """The columns that do not tell what a cell is: its result and its origin."""
    cells = [planned.cell for planned in plan.cells]
    environments = {id(result.environment): result for result in found if result}
    keys = {key: result.environment_key for key, result in environments.items()}
    seeds = {name: [getattr(cell, name) for cell in cells] for name in SEEDS}
    return {
        "outcome": [result.outcome if result else "missing" for result in found],
        "seconds": [result.timings.get("total") if result else None for result in found],
        "block": [cell.block for cell in cells],
        "environment": [keys[id(result.environment)] if result else "" for result in found],
        "fingerprint": [result.fingerprint if result else "" for result in found],
        "message": [result.message if result else "" for result in found],
        **{name: ["" if seed is None else seed for seed in seeds[name]] for name in SEEDS},
    }


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


class _Identifier:
    """Tells what a frame shows of a planned cell: its factors by name, its replicate and id."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._names, self.dotted = name_levels(plan), list_option_axes(plan)
        self._shown: dict[Hashable, dict[str, Any]] = {}

    def __call__(self, planned: PlannedCell) -> dict[str, Any]:
        shown = self._name_factors(planned)
        return shown | {"replicate": planned.cell.replicate, "cell": planned.cell.id}

    def list_columns(self) -> dict[str, Any]:
        """The same of all planned cells, as columns."""
        conditions: dict[int, tuple[int, dict[str, Any]]] = {}
        numbers = []
        for planned in self._plan.cells:
            shown = self._name_factors(planned)
            numbers.append(conditions.setdefault(id(shown), (len(conditions), shown))[0])
        names = [*FACTORS, *self.dotted]
        table = pd.DataFrame(
            {name: [shown[name] for _, shown in conditions.values()] for name in names}
        )
        cells = [planned.cell for planned in self._plan.cells]
        return {name: table[name].take(numbers).array for name in names} | {
            "replicate": [cell.replicate for cell in cells],
            "cell": [cell.id for cell in cells],
        }

    def _name_factors(self, planned: PlannedCell) -> dict[str, Any]:
        key = identify_levels(planned)
        if key not in self._shown:  # once for all replicates of a condition
            self._shown[key] = {
                column: self._names[column, value]
                for column, value in read_levels(planned, self.dotted).items()
            }
        return self._shown[key]


class _Facts(dict[str, str]):
    """Facts about a whole frame. pandas copies them, deeply, for every part that is taken of it."""

    def __deepcopy__(self, memo: object) -> _Facts:
        return self


def _collect_directions(found: Iterable[Result | None]) -> dict[str, str]:
    """Metric, without ``val_`` or ``test_`` → ``max`` or ``min``."""
    given = (result.data.get("metrics") for result in found if result)
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
