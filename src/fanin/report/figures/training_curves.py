"""Figures of training curves: the grid of a whole study, and one cell.

matplotlib's object interface throughout: no pyplot, no global settings, no display. Names are never
read as mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.errors import MissingExtra

try:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
except ModuleNotFoundError:
    raise MissingExtra("matplotlib", "study", "A figure") from None

from fanin import atomic
from fanin.analysis.analysis import Analysis
from fanin.analysis.design import split_sections
from fanin.analysis.factors import format_title, format_value
from fanin.cell.plan import PlannedCell
from fanin.cell.result import Result
from fanin.report.escaping import escape_invisible
from fanin.report.figures.curve_panel import LOSS, METRIC, QUIET, WARNING, Panel, draw, scales
from fanin.report.figures.rendering import fitted, format_of, metric_words, saved, sheet
from fanin.report.tables import notes

MAX_ROWS, MAX_COLUMNS = 24, 12
"""What one picture can hold; beyond that it says what it leaves out."""

# Inches.
_PANEL_WIDTH, _PANEL_HEIGHT = 2.15, 1.35
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.62, 0.62, 1.0, 0.5
_GAP_X, _GAP_Y = 0.14, 0.68
_LEGEND_LINE = 0.22

_WIDE = 10.0
"""Inches from which the legend takes one line."""


@dataclass(frozen=True)
class _Row:
    heading: str
    panels: dict[str, Panel]


def curves_grid(analysis: Analysis, path: str | Path) -> Path:
    """Write the grid of training curves as PNG, PDF or SVG, by the path's ending.

    A row per model × data (and whatever else varies), a column per initializer, or what else is
    compared. The panels of a row share their axes, so that they compare; replicates are thin lines
    with their mean; a panel without results says so.
    """
    return atomic.write(path, grid_image(analysis, format_of(path)), create_parent=True)


def grid_image(analysis: Analysis, kind: str = "png") -> bytes:
    """The bytes of `curves_grid`."""
    frame, design = analysis.frame, analysis.design
    names = list(dict.fromkeys(map(format_value, frame[design.compared])))
    rows = [
        _Row(design.name_section(key), _panels(section, design.compared, analysis.results))
        for key, section in split_sections(frame, design)
    ]
    if not any(result.history for result in analysis.planned_results):
        return saved(sheet(notes.describe_empty(len(frame))), kind)
    return saved(
        _grid(analysis.plan.study, rows, names, design.format_title(design.compared)), kind
    )


def cell_figure(planned: PlannedCell, result: Result | None, path: str | Path) -> Path:
    """Write one cell's curves as PNG, PDF or SVG, by the path's ending."""
    found = [result] if result is not None else []
    cell = planned.cell
    main = ("model", "data", "initializer")
    names = [planned.labels.get(name, getattr(cell, name)) for name in main]
    names += [
        f"{format_title(axis)} {label}"
        for axis, label in planned.labels.items()
        if axis not in main
    ]
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.subplots(gridspec_kw={"left": 0.12, "right": 0.88, "top": 0.78, "bottom": 0.13})
    shared = scales(found)
    draw(axes, Panel(found, 1), shared, outer_left=True, outer_right=True, font=9)
    axes.set_xlabel("epoch", color=QUIET)
    axes.set_ylabel(shared.loss.titled("loss"), color=LOSS)
    figure.axes[-1].set_ylabel(
        shared.metric.titled(metric_words(shared.metric_name)), color=METRIC, parse_math=False
    )
    _heading(
        figure,
        f"{' · '.join(map(escape_invisible, names))}, replicate {cell.replicate}",
        found,
        at=0.97,
        gap=0.055,
    )
    return atomic.write(path, saved(figure, format_of(path)), create_parent=True)


def _panels(section: Any, compared: str, results: Mapping[str, Result]) -> dict[str, Panel]:
    groups = section.groupby(compared, sort=False, dropna=False)["cell"]
    return {
        format_value(name): Panel([results[cell] for cell in cells if cell in results], len(cells))
        for name, cells in groups
    }


def _grid(study: str, rows: Sequence[_Row], names: Sequence[str], compared: str) -> Figure:
    shown_rows, shown_names = rows[:MAX_ROWS], names[:MAX_COLUMNS]
    figure, axes = _canvas(len(shown_rows), len(shown_names))
    width = figure.get_figwidth()
    panel_width = axes[0][0].get_position().width * width
    for row, line in zip(shown_rows, axes, strict=True):
        shared = scales(result for panel in row.panels.values() for result in panel.results)
        for i, (name, axis) in enumerate(zip(shown_names, line, strict=True)):
            panel = row.panels.get(name, Panel([], 0))
            draw(axis, panel, shared, outer_left=i == 0, outer_right=i == len(line) - 1)
            axis.set_title(
                fitted(name, panel_width, 7.5), fontsize=7.5, loc="left", pad=3, parse_math=False
            )
        _row_heading(line[0], fitted(row.heading, width - _LEFT, 9.5))
        line[0].set_ylabel(shared.loss.titled("loss"), color=LOSS, fontsize=7, labelpad=2)
        metric = shared.metric.titled(metric_words(shared.metric_name))
        figure.axes[-1].set_ylabel(metric, color=METRIC, fontsize=7, labelpad=2, parse_math=False)
    for axis in axes[-1]:
        axis.set_xlabel("epoch", color=QUIET, fontsize=7, labelpad=1)
    height = figure.get_figheight()
    results = [result for row in rows for panel in row.panels.values() for result in panel.results]
    _heading(
        figure,
        f"{escape_invisible(study)}: training curves",
        results,
        at=1 - 0.12 / height,
        gap=0.27 / height,
    )
    if left_out := _left_out(rows, names, compared):
        figure.text(
            _LEFT / width, 0.06 / height, left_out, fontsize=8, color=WARNING, parse_math=False
        )
    return figure


def _canvas(rows: int, columns: int) -> tuple[Figure, Any]:
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


def _row_heading(axis: Any, text: str) -> None:
    axis.annotate(
        text, (0, 1), (0, 15), xycoords="axes fraction", textcoords="offset points", ha="left", va="bottom",
        fontsize=9, fontweight="bold", parse_math=False, annotation_clip=False,
    )  # fmt: skip


def _heading(
    figure: Figure, title: str, results: Sequence[Result], *, at: float, gap: float
) -> None:
    """Title and, once for the whole figure, the legend."""
    left = min(axes.get_position().x0 for axes in figure.axes)
    figure.text(
        left,
        at,
        fitted(title, figure.get_figwidth() * (1 - left), 11.5),
        fontsize=11,
        fontweight="bold",
        va="top",
        parse_math=False,
    )
    lines = _legend(results)
    figure.legend(
        handles=lines, loc="upper left", bbox_to_anchor=(left, at - gap), bbox_transform=figure.transFigure,
        ncols=len(lines) if figure.get_figwidth() > _WIDE else 3, frameon=False, fontsize=8, handlelength=2.2,
        columnspacing=1.4, borderaxespad=0, borderpad=0,
    )  # fmt: skip


def _legend(results: Sequence[Result]) -> list[Line2D]:
    lines = [
        Line2D([], [], color=LOSS, linestyle=(0, (3, 1.5)), linewidth=1.2, label="training loss"),
        Line2D([], [], color=LOSS, linewidth=1.6, label="validation loss"),
        Line2D(
            [], [], color=METRIC, linestyle=(0, (3, 1.5)), linewidth=1.2, label="training metric"
        ),
        Line2D([], [], color=METRIC, linewidth=1.6, label="validation metric"),
    ]
    replicated = any(result.cell.replicate for result in results)
    if not replicated and any("best_epoch" in result.metrics for result in results):
        lines.append(
            Line2D(
                [], [], color=LOSS, marker="o", markersize=4, linestyle="none", label="weights kept"
            )
        )
    if any(result.outcome == "diverged" for result in results):
        lines.append(
            Line2D(
                [], [], color=WARNING, marker="X", markersize=6, linestyle="none", label="diverged"
            )
        )
    if replicated:
        lines.append(
            Line2D(
                [],
                [],
                color=QUIET,
                linewidth=0.6,
                label="one replicate (thick: mean while all of them run)",
            )
        )
    return lines


def _left_out(rows: Sequence[_Row], names: Sequence[str], compared: str) -> str:
    said = []
    if len(rows) > MAX_ROWS:
        said.append(f"the first {MAX_ROWS} of {len(rows)} rows")
    if len(names) > MAX_COLUMNS:
        said.append(f"the first {MAX_COLUMNS} of {len(names)} {compared.removesuffix('s')}s")
    return f"Drawn: {' and '.join(said)}." if said else ""
