"""Signals of a study: what the cells that measured them have stored, as series and as a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fanin.analysis.factors import FACTORS
from fanin.cell.signal_columns import parse_column
from fanin.watching.layer_reading import ALL, STATISTICS
from fanin.watching.signal_series import SignalSeries, arrange_series

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.cell_table import CellTable

COLUMNS = ("epoch", "depth", "layer", *STATISTICS)
"""Those of a frame of signals after the factors."""


def read_series(history: Mapping[str, list[float]]) -> SignalSeries | None:
    """The signals in a history, by completed epochs; None if the cell measured none."""
    found = [(column, history[name]) for name in history if (column := parse_column(name))]
    if not found:
        return None
    places = {column.layer: column.place for column, _ in found}
    layers = sorted(places, key=places.__getitem__)
    # Epochs of few steps are not all measured.
    epochs = sorted({e for _, values in found for e, x in enumerate(values) if not math.isnan(x)})
    columns = {
        (column.statistic, column.layer): [values[epoch] for epoch in epochs]
        for column, values in found
    }
    return arrange_series("epoch", epochs, layers, columns)


def build_signals(table: CellTable) -> pd.DataFrame:
    """One row per cell, epoch and layer: the factors, replicate, cell, outcome, and `COLUMNS`.

    ``epoch`` counts the epochs completed before the step that was measured: 0 is the start.
    ``depth`` is the place in the order of computation, from 0; of the row ``(all)``, the whole
    model, it is -1. What does not apply is nan. There are no rows if no cell measured signals.
    """
    import pandas as pd

    leading = [*FACTORS, *table.dotted, "replicate", "cell", "outcome"]
    parts = [
        pd.DataFrame(
            {
                **table.conditions[number],
                "replicate": result.cell.replicate,
                "cell": result.cell.id,
                "outcome": result.outcome,
                **_list_rows(series),
            }
        )
        for number, result in zip(table.numbers, table.found, strict=True)
        if result is not None
        and result.cell.signals
        and (series := read_series(result.history)) is not None
    ]
    if not parts:
        return pd.DataFrame(columns=pd.Index([*leading, *COLUMNS]))
    return pd.concat(parts, ignore_index=True)[[*leading, *COLUMNS]]


def _list_rows(series: SignalSeries) -> dict[str, list[Any]]:
    layers = [*series.layers, ALL]
    depths = [*range(len(series.layers)), -1]
    times = range(len(series.times))
    return {
        "epoch": [series.times[place] for place in times for _ in layers],
        "depth": [depth for _ in times for depth in depths],
        "layer": [layer for _ in times for layer in layers],
        **{
            name: [series.get(name, layer)[place] for place in times for layer in layers]
            for name in STATISTICS
        },
    }
