"""The impact of an initializer in numbers: gradient flow, stability and cost, measured in training.

Gradient flow and stability come from signals, which the cells of a study measure if it says so
(``signals = true``); divergence and cost are known of every study.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import TYPE_CHECKING, Any

from fanin.analysis.cell_table import CellTable
from fanin.analysis.design import Design
from fanin.analysis.layer_signals import read_series
from fanin.cell.result import Result
from fanin.watching.layer_reading import ALL
from fanin.watching.signal_series import SignalSeries

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Impact:
    """What one condition did to a training; medians over its replicates.

    What was not measured is nan.
    """

    factors: Mapping[str, Any]
    """What heads the section, and the compared value, by factor."""
    trained: int
    """Replicates that trained: ok or diverged."""
    measured: int
    """Those of them that measured their signals."""
    gradient_ratio: float
    """rms of the first layer's gradient over the last layer's at the start."""
    gradient_ratio_later: float
    """The same, the median over all later epochs."""
    dead_units: float
    """The largest share of dead units over the epochs, all activations together."""
    largest_update: float
    """The largest update ratio ‖ΔW‖/‖W‖ of the whole model over the epochs."""
    diverged: float
    """The share of the trained replicates that diverged."""
    initialize_seconds: float
    """Seconds to compute the initial weights."""


TITLES = {
    "trained": "n",
    "measured": "measured",
    "gradient_ratio": "gradient, start",
    "gradient_ratio_later": "later",
    "dead_units": "dead units",
    "largest_update": "largest update",
    "diverged": "diverged",
    "initialize_seconds": "s for weights",
}
"""Column → its heading."""


def measure_impact(table: CellTable, design: Design) -> list[Impact]:
    """The impact of each condition, section by section, in the plan's order.

    Args:
        table: the cells. Histories are read one at a time.
        design: what is compared.
    """
    shown = (*design.headings, design.compared)
    rows = []
    for section in table.group_rows(design.section).values():
        compared: dict[Any, list[int]] = {}
        for row in section:
            value = table.conditions[table.numbers[row]][design.compared]
            compared.setdefault(value, []).append(row)
        for members in compared.values():
            levels = table.conditions[table.numbers[members[0]]]
            found = [result for row in members if (result := table.found[row]) is not None]
            rows.append(measure_condition(found, {name: levels[name] for name in shown}))
    return rows


def frame_impact(rows: Sequence[Impact]) -> pd.DataFrame:
    """The impacts as a frame, one row each: the factors, and a column for each number."""
    import pandas as pd

    names = [field.name for field in fields(Impact) if field.name != "factors"]
    return pd.DataFrame(
        [{**row.factors, **{name: getattr(row, name) for name in names}} for row in rows]
    )


def measure_condition(found: Sequence[Result], factors: Mapping[str, Any]) -> Impact:
    """The impact of one condition from the results of its replicates."""
    trained = [result for result in found if result.outcome in ("ok", "diverged")]
    series = list(_iterate_series(trained))
    ratios = [one.compare_gradients() for one in series]
    diverged = sum(result.outcome == "diverged" for result in trained)
    return Impact(
        factors=factors,
        trained=len(trained),
        measured=len(series),
        gradient_ratio=_take_median(row[0] for row in ratios if row),
        gradient_ratio_later=_take_median(_take_median(row[1:]) for row in ratios),
        dead_units=_take_median(_take_largest(one.get("zero_units", ALL)) for one in series),
        largest_update=_take_median(_take_largest(one.get("update_ratio", ALL)) for one in series),
        diverged=diverged / len(trained) if trained else math.nan,
        initialize_seconds=_take_median(
            result.timings.get("initialize", math.nan) for result in trained
        ),
    )


def _iterate_series(results: Iterable[Result]) -> Iterator[SignalSeries]:
    for result in results:
        if result.cell.signals and (series := read_series(result.history)) is not None:
            yield series


def _take_median(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(median(known)) if known else math.nan


def _take_largest(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)
