"""Figures of training curves: the grid of a whole study, and one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin import atomic
from fanin.analysis.analysis import Analysis
from fanin.analysis.design import split_sections
from fanin.analysis.factors import format_title, format_value
from fanin.cell.plan import PlannedCell
from fanin.cell.result import Result
from fanin.report.escaping import escape_invisible
from fanin.report.figures.curve_panel import CurvePanel, draw_curve_panel, fit_curve_scales
from fanin.report.figures.gathered_curves import MAX_REPLICATES, GatheredCurves, gather_curves
from fanin.report.figures.metric_titles import find_common_unit
from fanin.report.figures.palette import LOSS, METRIC, QUIET, WARNING
from fanin.report.figures.rendering import (
    draw_message,
    draw_once,
    fit_text,
    format_metric,
    parse_format,
    render,
)
from fanin.report.figures.scales import Scale
from fanin.report.tables import notes

MAX_ROWS, MAX_COLUMNS = 24, 12
"""Panels of one figure. A figure says how many it leaves out."""

# Inches.
_PANEL_WIDTH, _PANEL_HEIGHT = 2.15, 1.35
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.62, 0.62, 1.0, 0.5
_GAP_X, _GAP_Y = 0.14, 0.68
_LEGEND_LINE = 0.22

_WIDE = 10.0
"""Inches of a figure from which the legend takes one line."""


@dataclass(frozen=True)
class _PanelRow:
    heading: str
    panels: dict[str, CurvePanel]
    """By value of what is compared."""


def write_curve_grid(analysis: Analysis, path: str | Path) -> Path:
    """Write the grid of training curves as PNG, PDF or SVG, by the suffix of the path.

    A row per model × data (and whatever else varies), a column per initializer (or what else is
    compared). The panels of a row share their axes. Replicates are thin lines with their mean. A
    panel without results says so.
    """
    image = render_curve_grid(analysis, parse_format(path))
    return atomic.write(path, image, create_parent=True)


@draw_once
def render_curve_grid(analysis: Analysis, kind: str) -> bytes:
    """The bytes that `write_curve_grid` writes."""
    frame, design = analysis.frame, analysis.design
    if not any(result.history for result in analysis.planned_results):
        return render(draw_message(notes.describe_empty(frame)), kind)
    names = list(dict.fromkeys(map(format_value, frame[design.compared])))
    rows = [
        _PanelRow(
            design.name_section(key), _make_panels(section, design.compared, analysis.results)
        )
        for key, section in split_sections(frame, design)
    ]
    compared = design.format_title(design.compared)
    return render(_draw_grid(analysis.plan.study, rows, names, compared), kind)


def write_cell_curves(planned: PlannedCell, result: Result | None, path: str | Path) -> Path:
    """Write one cell's curves as PNG, PDF or SVG, by the suffix of the path."""
    results = [result] if result is not None else []
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.subplots(gridspec_kw={"left": 0.12, "right": 0.88, "top": 0.78, "bottom": 0.13})
    curves = gather_curves(results)
    scales = fit_curve_scales([curves])
    panel = CurvePanel(results, planned=1)
    draw_curve_panel(axes, panel, curves, scales, outer_left=True, outer_right=True, font=9)
    axes.set_xlabel("epoch", color=QUIET)
    datasets = {planned.cell.data}
    axes.set_ylabel(_format_axis(scales.loss, "loss", datasets), color=LOSS)
    metric = _format_axis(scales.metric, scales.metric_name, datasets)
    figure.axes[-1].set_ylabel(metric, color=METRIC, parse_math=False)
    _write_header(figure, _format_cell_title(planned), results, y=0.97, gap=0.055)
    return atomic.write(path, render(figure, parse_format(path)), create_parent=True)


def _format_cell_title(planned: PlannedCell) -> str:
    main = ("model", "data", "initializer")
    names = [planned.labels.get(name, getattr(planned.cell, name)) for name in main]
    names += [
        f"{format_title(axis)} {label}"
        for axis, label in planned.labels.items()
        if axis not in main
    ]
    return f"{' · '.join(map(escape_invisible, names))}, replicate {planned.cell.replicate}"


def _format_axis(scale: Scale, metric: str, datasets: set[str]) -> str:
    """``MAE ($, log)``"""
    return scale.format_title(format_metric(metric), find_common_unit(metric, datasets))


def _make_panels(
    section: pd.DataFrame, compared: str, results: Mapping[str, Result]
) -> dict[str, CurvePanel]:
    return {
        format_value(name): CurvePanel(
            [results[cell] for cell in cells if cell in results], planned=len(cells)
        )
        for name, cells in section.groupby(compared, sort=False, dropna=False)["cell"]
    }


def _draw_grid(
    study: str, rows: Sequence[_PanelRow], names: Sequence[str], compared: str
) -> Figure:
    drawn_rows, drawn_names = rows[:MAX_ROWS], names[:MAX_COLUMNS]
    figure, axes = _make_axes(len(drawn_rows), len(drawn_names))
    width, height = figure.get_figwidth(), figure.get_figheight()
    for row, row_axes in zip(drawn_rows, axes, strict=True):
        _draw_row(figure, row, drawn_names, row_axes)
    for last in axes[-1]:
        last.set_xlabel("epoch", color=QUIET, fontsize=7, labelpad=1)
    results = [result for row in rows for panel in row.panels.values() for result in panel.results]
    title = f"{escape_invisible(study)}: training curves"
    _write_header(figure, title, results, y=1 - 0.12 / height, gap=0.27 / height)
    if omissions := _describe_omissions(rows, names, compared):
        x, y = _LEFT / width, 0.06 / height
        figure.text(x, y, omissions, fontsize=8, color=WARNING, parse_math=False)
    return figure


def _draw_row(
    figure: Figure, row: _PanelRow, names: Sequence[str], row_axes: Sequence[Axes]
) -> None:
    """Draw the panels of a row; axis titles are written at its two ends only."""
    width = figure.get_figwidth()
    panel_width = row_axes[0].get_position().width * width
    gathered = {name: gather_curves(panel.results) for name, panel in row.panels.items()}
    scales = fit_curve_scales([*gathered.values()])
    last = len(row_axes) - 1
    for i, (name, axes) in enumerate(zip(names, row_axes, strict=True)):
        panel = row.panels.get(name, CurvePanel([], planned=0))
        curves = gathered.get(name, GatheredCurves())
        draw_curve_panel(axes, panel, curves, scales, outer_left=i == 0, outer_right=i == last)
        title = fit_text(name, panel_width, 7.5)
        axes.set_title(title, fontsize=7.5, loc="left", pad=3, parse_math=False)
    _write_row_heading(row_axes[0], fit_text(row.heading, width - _LEFT, 9.5))
    style: dict[str, Any] = {"fontsize": 7, "labelpad": 2}
    results = (result for panel in row.panels.values() for result in panel.results)
    datasets = {result.cell.data for result in results}
    row_axes[0].set_ylabel(_format_axis(scales.loss, "loss", datasets), color=LOSS, **style)
    metric = _format_axis(scales.metric, scales.metric_name, datasets)
    figure.axes[-1].set_ylabel(metric, color=METRIC, parse_math=False, **style)


def _make_axes(rows: int, columns: int) -> tuple[Figure, Any]:
    """A figure and its axes, by row and column."""
    width = _LEFT + columns * _PANEL_WIDTH + (columns - 1) * _GAP_X + _RIGHT
    width = max(width, 6.4)
    top = _TOP if width > _WIDE else _TOP + _LEGEND_LINE
    height = top + rows * _PANEL_HEIGHT + (rows - 1) * _GAP_Y + _BOTTOM
    figure = Figure(figsize=(width, height))
    grid = {
        "left": _LEFT / width,
        "right": 1 - _RIGHT / width,
        "top": 1 - top / height,
        "bottom": _BOTTOM / height,
        "wspace": _GAP_X / _PANEL_WIDTH,
        "hspace": _GAP_Y / _PANEL_HEIGHT,
    }
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid)


def _write_row_heading(axes: Axes, text: str) -> None:
    axes.annotate(
        text,
        (0, 1),
        (0, 15),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=9,
        fontweight="bold",
        parse_math=False,
        annotation_clip=False,
    )


def _write_header(
    figure: Figure, title: str, results: Sequence[Result], *, y: float, gap: float
) -> None:
    """Write the title and, once for the whole figure, the legend."""
    left = min(axes.get_position().x0 for axes in figure.axes)
    text = fit_text(title, figure.get_figwidth() * (1 - left), 11.5)
    figure.text(left, y, text, fontsize=11, fontweight="bold", va="top", parse_math=False)
    lines = _make_legend(results)
    figure.legend(
        handles=lines,
        loc="upper left",
        bbox_to_anchor=(left, y - gap),
        bbox_transform=figure.transFigure,
        ncols=len(lines) if figure.get_figwidth() > _WIDE else 3,
        frameon=False,
        fontsize=8,
        handlelength=2.2,
        columnspacing=1.4,
        borderaxespad=0,
        borderpad=0,
    )


def _make_legend(results: Sequence[Result]) -> list[Line2D]:
    dashed: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "linewidth": 1.2}
    lines = [
        Line2D([], [], color=LOSS, label="training loss", **dashed),
        Line2D([], [], color=LOSS, linewidth=1.6, label="validation loss"),
        Line2D([], [], color=METRIC, label="training metric", **dashed),
        Line2D([], [], color=METRIC, linewidth=1.6, label="validation metric"),
    ]
    replicated = any(result.cell.replicate for result in results)
    if not replicated and any("best_epoch" in result.metrics for result in results):
        dot: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none"}
        lines.append(Line2D([], [], color=LOSS, label="weights kept", **dot))
    if any(result.outcome == "diverged" for result in results):
        cross: dict[str, Any] = {"marker": "X", "markersize": 6, "linestyle": "none"}
        lines.append(Line2D([], [], color=WARNING, label="diverged", **cross))
    if replicated:
        label = "one replicate (thick: mean while all of them run)"
        lines.append(Line2D([], [], color=QUIET, linewidth=0.6, label=label))
    return lines


def _describe_omissions(rows: Sequence[_PanelRow], names: Sequence[str], compared: str) -> str:
    parts = []
    if len(rows) > MAX_ROWS:
        parts.append(f"the first {MAX_ROWS} of {len(rows)} rows")
    if len(names) > MAX_COLUMNS:
        parts.append(f"the first {MAX_COLUMNS} of {len(names)} {compared.removesuffix('s')}s")
    most = max((len(panel.results) for row in rows for panel in row.panels.values()), default=0)
    if most > MAX_REPLICATES:
        parts.append(f"the first {MAX_REPLICATES} of {most:,} replicates, with the mean of all")
    return f"Drawn: {' and '.join(parts)}." if parts else ""
