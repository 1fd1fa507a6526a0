"""The figure of a metric over two factors, as data for the page's script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design
from fanin.analysis.factors import format_value
from fanin.report.escaping import escape_invisible
from fanin.report.figures.cell_axis import CellAxis
from fanin.report.figures.heat_map import Curve, HeatPanel, make_heat_panel, select_curves
from fanin.report.figures.panel_grid import Panel, arrange_panels
from fanin.report.figures.scales import format_tick
from fanin.report.sections.page_figure import PageFigure, join_sentences, round_number


def make_heat_figure(
    analysis: Analysis,
    x: str,
    y: str,
    overlays: Sequence[Curve] | Mapping[str, Sequence[Curve]] = (),
) -> PageFigure:
    """A panel for the values of whatever else varies; its places are shares of its axes."""
    design = analysis.design
    grid = arrange_panels(analysis.frame, design, [x, y])
    panels = []
    drawn: dict[str, None] = {}
    for panel in grid.panels:
        curves = select_curves(overlays, panel)
        drawn |= dict.fromkeys(label for _, _, label in curves)
        panels.append(_make_panel(panel, make_heat_panel(panel, x, y), curves, design))
    first = grid.panels[0]
    title = f"{grid.metric_title} by {design.format_title(x)} and {design.format_title(y)}"
    data = {
        "kind": "heat",
        "names": [],
        "better": "max" if first.higher_is_better else "min",
        "mayBeLog": not first.metric.endswith("accuracy"),
        "panels": panels,
    }
    some_diverged = bool((analysis.frame["outcome"] == "diverged").any())
    caption = join_sentences(
        [
            "Colour: the mean over the replicates; brighter is better.",
            "× marks conditions of which replicates diverged: their colour is the median with the "
            "diverged counted as worst, grey if that is a diverged run."
            if some_diverged
            else "",
            f"Dashed: {', '.join(drawn)}." if drawn else "",
            grid.describe_omissions(),
        ]
    )
    return PageFigure(escape_invisible(title), caption, data)


def _make_panel(
    panel: Panel, heat: HeatPanel, curves: Sequence[Curve], design: Design
) -> dict[str, Any]:
    conditions = [[heat.conditions.get((u, v)) for u in heat.across.values] for v in heat.up.values]
    return {
        "title": escape_invisible(panel.title),
        "axis": escape_invisible(panel.metric_axis),
        "x": _make_axis(heat.across, design, is_upward=True),
        "y": _make_axis(heat.up, design, is_upward=heat.up.numeric),
        "cells": [[c and round_number(c.centre) for c in row] for row in conditions],
        "lost": [[c.diverged if c else 0 for c in row] for row in conditions],
        "curves": [_place_curve(curve, heat) for curve in curves],
    }


def _make_axis(axis: CellAxis, design: Design, *, is_upward: bool) -> dict[str, Any]:
    """Labels and edges, from 0 to 1. Words on a vertical axis are read from above."""
    shares = [_find_share(axis, edge) for edge in axis.edges]
    if not is_upward:
        shares = [1 - share for share in shares]
    return {
        "title": escape_invisible(axis.scale.format_title(design.format_title(axis.name))),
        "labels": [
            format_tick(float(value)) if axis.numeric else escape_invisible(format_value(value))
            for value in axis.values
        ],
        "edges": [round_number(share) for share in shares],
    }


def _place_curve(curve: Curve, heat: HeatPanel) -> list[list[float | int | None]]:
    """The points of a curve that lie inside the panel."""
    places = [
        (_find_share(heat.across, u), _find_share(heat.up, v))
        for u, v in zip(curve[0], curve[1], strict=True)
    ]
    inside = [(u, v) for u, v in places if 0 <= u <= 1 and 0 <= v <= 1]
    return [[round_number(u), round_number(v)] for u, v in inside]


def _find_share(axis: CellAxis, value: float) -> float:
    low, high, at = map(axis.scale.to_position, (axis.edges[0], axis.edges[-1], value))
    return float((at - low) / (high - low))
