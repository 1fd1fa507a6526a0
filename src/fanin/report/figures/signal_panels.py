"""The numbers behind figures of signals: median over replicates, by layer and time, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanin.analysis.analysis import Analysis
from fanin.analysis.factors import format_value
from fanin.analysis.layer_signals import read_series
from fanin.watching.layer_reading import ALL
from fanin.watching.signal_series import SignalSeries

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class SignalPanel:
    """The signals of one condition: one column of a figure."""

    section: str
    """What is compared with one another has the same: ``mlp · digits``."""
    title: str
    """The compared value."""
    unit: str
    """What `times` count: step or epoch."""
    times: Numbers
    layers: tuple[str, ...]
    """In the order of computation, activations as ``fc1:relu``."""
    values: dict[str, Numbers]
    """Statistic (`fanin.watching.layer_reading.STATISTICS`) → (layers, times); nan where there is
    none.
    """
    total: dict[str, Numbers]
    """Statistic → (times,), of the whole model."""
    replicates: int

    def list_layers(self, statistic: str) -> list[tuple[str, Numbers]]:
        """The layers that have a statistic, with their values."""
        rows = self.values.get(statistic)
        if rows is None:
            return []
        pairs = zip(self.layers, rows, strict=True)
        return [(layer, row) for layer, row in pairs if not np.isnan(row).all()]


def collect_signal_panels(analysis: Analysis) -> list[SignalPanel]:
    """A panel for each condition whose cells measured their signals, in the plan's order."""
    table, design = analysis.table, analysis.design
    panels = []
    for key, section in table.group_rows(design.section).items():
        compared: dict[Any, list[SignalSeries]] = {}
        for row in section:
            result = table.found[row]
            if result is None or not result.cell.signals:
                continue
            series = read_series(result.history)
            if series is not None:
                value = table.conditions[table.numbers[row]][design.compared]
                compared.setdefault(value, []).append(series)
        name = design.name_section(key)
        panels += [
            make_signal_panel(found, section=name, title=format_value(value))
            for value, found in compared.items()
        ]
    return panels


def make_signal_panel(
    found: Sequence[SignalSeries], *, section: str = "", title: str = ""
) -> SignalPanel:
    """The panel of the replicates of one condition, of which there is at least one."""
    times = sorted({time for series in found for time in series.times})
    layers = tuple(dict.fromkeys(layer for series in found for layer in series.layers))
    statistics = dict.fromkeys(name for series in found for name in series.values)
    rows = {name: _take_medians(found, name, (*layers, ALL), times) for name in statistics}
    return SignalPanel(
        section=section,
        title=title,
        unit=found[0].unit,
        times=np.array(times, dtype=np.float64),
        layers=layers,
        values={name: values[:-1] for name, values in rows.items()},
        total={name: values[-1] for name, values in rows.items()},
        replicates=len(found),
    )


def _take_medians(
    found: Sequence[SignalSeries], statistic: str, layers: Sequence[str], times: Sequence[int]
) -> Numbers:
    """(layers, times): the median over the replicates that have a value."""
    place = {time: number for number, time in enumerate(times)}
    values = np.full((len(found), len(layers), len(times)), np.nan)
    for number, series in enumerate(found):
        at = [place[time] for time in series.times]
        for row, layer in enumerate(layers):
            values[number, row, at] = series.get(statistic, layer)
    medians = np.full(values.shape[1:], np.nan)
    known = ~np.isnan(values).all(axis=0)
    with np.errstate(invalid="ignore"):  # the mean of two infinities
        medians[known] = np.nanmedian(values[:, known], axis=0)
    return medians
