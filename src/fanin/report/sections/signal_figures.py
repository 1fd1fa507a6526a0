"""The figures of signals: what each layer put out and got back, at the start and at the end, and
the whole model over the epochs.

There are none unless cells measured their signals (``signals = true`` in a study).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from fanin.analysis.analysis import Analysis
from fanin.report.escaping import escape_invisible
from fanin.report.figures.signal_panels import SignalPanel, collect_signal_panels
from fanin.report.sections.page_figure import PageFigure, round_numbers
from fanin.report.sections.signal_heat_figure import make_signal_heat_figure
from fanin.watching.layer_reading import STATISTICS

_SHOWN = ("rms", "gradient_rms", "update_ratio", "zero_units", "saturated")
_TIMES = {"start": (0, "first epoch measured"), "end": (-1, "last epoch measured")}

MAX_SECTIONS = 60


def make_signal_figures(analysis: Analysis) -> list[PageFigure]:
    """By layer, over time, and both; an empty list if nothing was measured."""
    panels = collect_signal_panels(analysis)
    if not panels:
        return []
    names = list(dict.fromkeys(panel.title for panel in panels))
    sections = [
        (section, list(group)) for section, group in groupby(panels, key=lambda p: p.section)
    ][:MAX_SECTIONS]
    figures = [_make_layer_figure(sections, names), _make_time_figure(sections, names)]
    if (heat := make_signal_heat_figure(sections)) is not None:
        figures.append(heat)
    return figures


_Sections = Sequence[tuple[str, list[SignalPanel]]]


def _make_layer_figure(sections: _Sections, names: Sequence[str]) -> PageFigure:
    made = [
        {
            "title": escape_invisible(section),
            "places": [escape_invisible(name) for name in _list_layers(group)],
            "lines": [
                {"c": names.index(panel.title), "m": dict(_list_profiles(panel))} for panel in group
            ],
        }
        for section, group in sections
    ]
    keys = _list_keys(made)
    titles = {
        f"{statistic}.{time}": f"{STATISTICS[statistic]}, {words}"
        for statistic in _SHOWN
        for time, (_, words) in _TIMES.items()
    }
    axis = {"title": "layer", "whole": True}
    caption = (
        "Medians over replicates; layers in the order of their computation (the reading at the "
        "pointer names them). A flat line keeps the signal; one that falls or rises from layer to "
        "layer loses it or lets it explode."
    )
    return PageFigure(
        "Signal and gradient by layer", caption, _make_data(made, names, axis, keys, titles)
    )


def _make_time_figure(sections: _Sections, names: Sequence[str]) -> PageFigure:
    made = [
        {
            "title": escape_invisible(section),
            "lines": [
                {"c": names.index(panel.title), "m": dict(_list_totals(panel))} for panel in group
            ],
        }
        for section, group in sections
    ]
    unit = sections[0][1][0].unit
    axis = {"title": "step" if unit == "step" else "epochs completed", "whole": True}
    caption = "The whole model over the training; medians over replicates."
    titles = {statistic: STATISTICS[statistic] for statistic in STATISTICS}
    data = _make_data(made, names, axis, _list_keys(made), titles)
    return PageFigure("Signals of the whole model through training", caption, data)


def _make_data(
    panels: list[dict[str, Any]],
    names: Sequence[str],
    axis: dict[str, Any],
    keys: Sequence[str],
    titles: dict[str, str],
) -> dict[str, Any]:
    return {
        "kind": "lines",
        "names": [escape_invisible(name) for name in names],
        "axis": axis,
        "metrics": [{"key": key, "title": titles[key]} for key in keys],
        "panels": panels,
        "legend": True,
        "marks": True,
    }


def _list_keys(panels: Sequence[dict[str, Any]]) -> list[str]:
    found = {key for panel in panels for line in panel["lines"] for key in line["m"]}
    order = [f"{statistic}.{time}" for statistic in _SHOWN for time in _TIMES]
    return [key for key in (*order, *STATISTICS) if key in found]


def _list_layers(panels: Sequence[SignalPanel]) -> list[str]:
    return list(dict.fromkeys(layer for panel in panels for layer in panel.layers))


def _list_profiles(panel: SignalPanel) -> Iterator[tuple[str, dict[str, Any]]]:
    """Statistic and time → its values by layer, of the layers that have it."""
    for statistic in _SHOWN:
        rows = panel.values.get(statistic)
        if rows is None:
            continue
        for time, (place, _) in _TIMES.items():
            values = rows[:, place]
            there = [i for i, value in enumerate(values) if np.isfinite(value)]
            if there:
                yield (
                    f"{statistic}.{time}",
                    {"x": [i + 1 for i in there], "y": round_numbers(values[there])},
                )


def _list_totals(panel: SignalPanel) -> Iterator[tuple[str, dict[str, Any]]]:
    for statistic, values in panel.total.items():
        if statistic in STATISTICS and np.isfinite(values).any():
            yield statistic, {"x": round_numbers(panel.times), "y": round_numbers(values)}
