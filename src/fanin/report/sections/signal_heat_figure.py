"""The figure of layers over time: a statistic of every layer, in every epoch that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fanin.report.escaping import escape_invisible
from fanin.report.figures.scales import format_tick
from fanin.report.figures.signal_heat import find_heat_limits, list_heat_layers
from fanin.report.figures.signal_panels import SignalPanel
from fanin.report.sections.page_figure import PageFigure, pick_places, round_number, round_numbers
from fanin.watching.layer_reading import STATISTICS

_SHOWN = ("gradient_rms", "rms", "update_ratio")
_MAX_LAYERS, _MAX_TIMES, _MAX_PANELS = 80, 60, 60


def make_signal_heat_figure(
    sections: Sequence[tuple[str, list[SignalPanel]]],
) -> PageFigure | None:
    """A panel for each condition, a row for each layer, a column for each time.

    The conditions of a section share their colours. None if all were measured once only: a column
    alone is the figure by layer.

    Args:
        sections: title → the conditions that are compared with one another.
    """
    panels = [
        _make_panel(section if len(sections) > 1 else "", panel, _find_all_limits(group))
        for section, group in sections
        for panel in group
        if len(panel.times) > 1
    ][:_MAX_PANELS]
    keys = [key for key in _SHOWN if any(key in panel["m"] for panel in panels)]
    panels = [panel for panel in panels if panel["m"]]
    if not panels:
        return None
    caption = (
        "Rows are the layers in the order of their computation, columns the times. Brighter is "
        "larger, on a scale that the conditions of a section share; 0 has the darkest colour. "
        "A start that fits has one colour in all rows: if they grow dark from one end to the "
        "other, the numbers vanish, and if they grow bright, they explode."
    )
    data = {
        "kind": "heat",
        "names": [],
        "better": "max",
        "mayBeLog": True,
        "metrics": [{"key": key, "title": STATISTICS[key]} for key in keys],
        "panels": panels,
    }
    return PageFigure("Layers through training", caption, data)


def _find_all_limits(group: Sequence[SignalPanel]) -> dict[str, tuple[float, float]]:
    return {key: find_heat_limits(group, key) for key in _SHOWN}


def _make_panel(
    section: str, panel: SignalPanel, limits: dict[str, tuple[float, float]]
) -> dict[str, Any]:
    layers = list_heat_layers(panel)
    layers = [layers[place] for place in pick_places(len(layers), _MAX_LAYERS)]
    rows = [panel.layers.index(layer) for layer in layers]
    columns = pick_places(len(panel.times), _MAX_TIMES)
    made = {}
    for key in _SHOWN:
        if key in panel.values and np.isfinite(panel.values[key][rows]).any():
            made[key] = {
                "axis": STATISTICS[key],
                "extent": round_numbers(limits[key]),
                "cells": [round_numbers(panel.values[key][row, columns]) for row in rows],
            }
    unit = "step" if panel.unit == "step" else "epochs completed"
    return {
        "title": escape_invisible(" · ".join(filter(None, (section, panel.title)))),
        "x": {
            "title": unit,
            "thin": True,
            "labels": [format_tick(float(panel.times[i])) for i in columns],
            "edges": _list_edges(len(columns)),
        },
        "y": {
            "title": "layer",
            "labels": [escape_invisible(layer) for layer in layers],
            "edges": _list_edges(len(layers))[::-1],  # the first layer on top
        },
        "m": made,
    }


def _list_edges(count: int) -> list[float | int | None]:
    return [round_number(i / count) for i in range(count + 1)]
