"""Frames: a plan and its results as pandas tables, without aggregation or omission."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fanin.errors import MissingExtra

try:
    import pandas as pd
except ModuleNotFoundError:
    raise MissingExtra("pandas", "study", "A frame of results") from None

from fanin.analysis.factors import FACTORS, LEADING, SEEDS

if TYPE_CHECKING:
    from fanin.analysis.cell_table import CellTable
    from fanin.analysis.design import Design
    from fanin.analysis.section_comparisons import SectionComparison
    from fanin.analysis.summary import Summary
    from fanin.cell.result import Result

PROVENANCE = ("cell", "block", "environment", "fingerprint", "message")
"""Columns that tell a row's origin."""


def build_frame(table: CellTable) -> pd.DataFrame:
    """One row per planned cell, in the plan's order.

    Columns: the `LEADING` factors (the plan's label if it gives one), replicate, outcome
    (``missing`` without a result), each metric that any result has (nan in the others), seconds,
    the `PROVENANCE`, the other `FACTORS`, a column per axis that is an option (``model.depth``; ""
    for a cell without that option), and the `SEEDS` ("" if derived).

    ``frame.attrs["directions"]`` says which way users' metrics are better, as results recorded it.
    """
    columns = _list_factors(table) | _list_outcomes(table)
    later = [name for name in FACTORS if name not in LEADING]
    order = [
        *LEADING,
        "replicate",
        "outcome",
        *table.metrics,
        "seconds",
        *PROVENANCE,
        *later,
        *table.dotted,
        *SEEDS,
    ]
    frame = pd.DataFrame({name: columns[name] for name in order})
    frame = frame.astype(
        {
            **dict.fromkeys([*table.metrics, "seconds"], "float64"),
            **dict.fromkeys([*table.dotted, *SEEDS], "object"),
        }
    )
    specs = (planned.cell.data for planned in table.plan.cells)
    frame.attrs["directions"] = _Facts(table.directions)
    frame.attrs["datasets"] = _Facts(zip(columns["data"], specs, strict=True))
    return frame


def build_history(table: CellTable) -> pd.DataFrame:
    """One row per cell and epoch (from 1): the factors, replicate, cell, outcome, epoch, and the
    history's columns.
    """
    leading = [*FACTORS, *table.dotted, "replicate", "cell", "outcome", "epoch"]
    parts = [
        pd.DataFrame(
            {
                **table.conditions[number],
                "replicate": result.cell.replicate,
                "cell": result.cell.id,
                "outcome": result.outcome,
                **_pad_history(result),
            }
        )
        for number, result in zip(table.numbers, table.found, strict=True)
        if result is not None and any(result.history.values())
    ]
    if not parts:
        return pd.DataFrame(columns=pd.Index(leading))
    frame = pd.concat(parts, ignore_index=True)
    return frame[[*leading, *(name for name in frame.columns if name not in leading)]]


def frame_summary(summary: Summary) -> pd.DataFrame:
    """A summary as a frame (`fanin.analysis.summary.summarise` has the columns)."""
    frame = pd.DataFrame(summary.rows, columns=pd.Index(summary.columns))
    return frame.astype({"mean_rank": "float64"})


def frame_differences(design: Design, comparisons: Iterable[SectionComparison]) -> pd.DataFrame:
    """One row per section and compared value: its difference from the reference.

    Columns: the factors that name a section, metric, and the fields of
    `fanin.analysis.paired_runs.Difference`: value, reference, n, wins, losses, ties,
    diverged, failed, mean (value − reference), sd, low, high (95 %), p, p_holm, detectable, needed
    (nan if none) and judgement.
    """
    from fanin.analysis.paired_runs import Difference

    rows = [
        {
            **{
                name: value
                for name, value in zip(design.section, item.section, strict=True)
                if name in design.headings
            },
            "metric": item.metric,
            **vars(difference),
        }
        for item in comparisons
        for difference in item.differences
    ]
    columns = [*design.headings, "metric", *Difference.__dataclass_fields__]
    frame = pd.DataFrame(rows, columns=pd.Index(columns))
    return frame.astype({"needed": "float64"})


def _list_factors(table: CellTable) -> dict[str, Any]:
    """The columns that tell what a cell is. Each condition's values are repeated for its rows."""
    names = table.factors
    conditions = pd.DataFrame(
        {name: [levels[name] for levels in table.conditions] for name in names}
    )
    return {name: conditions[name].take(table.numbers).array for name in names} | {
        "replicate": table.list_replicates(),
        "cell": [planned.cell.id for planned in table.plan.cells],
    }


def _list_outcomes(table: CellTable) -> dict[str, Any]:
    """The columns that do not tell what a cell is: its result and its origin."""
    found = table.found
    environments = {id(result.environment): result for result in found if result}
    keys = {key: result.environment_key for key, result in environments.items()}
    return {
        "outcome": table.outcomes,
        **{name: table.get_metric(name) for name in table.metrics},
        "seconds": [result.timings.get("total") if result else None for result in found],
        "block": [planned.cell.block for planned in table.plan.cells],
        "environment": [keys[id(result.environment)] if result else "" for result in found],
        "fingerprint": [result.fingerprint if result else "" for result in found],
        "message": [result.message if result else "" for result in found],
        **{name: table.list_seed(name) for name in SEEDS},
    }


class _Facts(dict[str, str]):
    """Facts about a whole frame. pandas copies them, deeply, for every part that is taken of it."""

    def __deepcopy__(self, memo: object) -> _Facts:
        return self


def _pad_history(result: Result) -> dict[str, list[Any]]:
    length = max(len(column) for column in result.history.values())
    padded = {
        name: [*column, *[None] * (length - len(column))] for name, column in result.history.items()
    }
    return {"epoch": list(range(1, length + 1)), **padded}
