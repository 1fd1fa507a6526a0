"""Small multiples: a panel for each combination of the factors that panels do not show inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.analysis.conditions import Condition, estimate_condition
from fanin.analysis.design import Design, group_rows
from fanin.analysis.factors import format_title
from fanin.analysis.summary import find_main_metric, get_directions, is_higher_better
from fanin.report.escaping import escape_invisible
from fanin.report.figures.metric_titles import format_metric_axis
from fanin.report.figures.palette import QUIET, WARNING
from fanin.report.figures.rendering import fit_text

MAX_ROWS, MAX_COLUMNS = 8, 6
"""Panels of one figure. A figure says how many it leaves out."""

_WRAP = 3
"""Panels in a row if they vary in one kind of factor only."""

_TITLE, _LINE, _LEGEND_LINE, _EDGE = 0.3, 0.2, 0.168, 0.12
"""Heights of a figure's title, a line below it, a line of its legend, and its margin, in inches."""

_LETTER = 0.068
"""About the width of a letter of a legend, in inches."""


@dataclass(frozen=True)
class Panel:
    """What one panel shows."""

    title: str
    frame: pd.DataFrame
    metric: str
    higher_is_better: bool
    scale: tuple[Any, ...]
    """Model, data and metric. Panels that agree in it share a scale."""
    dataset: str
    """The spec of the data set."""

    @property
    def metric_axis(self) -> str:
        """The title of an axis of the metric."""
        better = self.higher_is_better
        return format_metric_axis(self.metric, self.dataset, higher_is_better=better)

    def estimate_conditions(
        self, factors: Sequence[str]
    ) -> Iterator[tuple[tuple[Any, ...], Condition]]:
        """(values, condition) for each combination of the factors' values."""
        for values, rows in group_rows(self.frame, factors):
            yield (
                values,
                estimate_condition(rows, self.metric, higher_is_better=self.higher_is_better),
            )


Row = tuple[Panel | None, ...]
"""Panels side by side; None if the study has no such combination."""


@dataclass(frozen=True)
class PanelGrid:
    """The panels of a figure, row by row."""

    rows: tuple[Row, ...]
    subtitle: str
    """What all panels have in common."""
    total: int
    """The number of panels before the grid was cut to `MAX_ROWS` and `MAX_COLUMNS`."""

    @property
    def panels(self) -> list[Panel]:
        """Every panel."""
        return [panel for row in self.rows for panel in row if panel]

    @property
    def metrics(self) -> list[str]:
        """The metrics that the panels show."""
        return list(dict.fromkeys(panel.metric for panel in self.panels))

    @property
    def metric_title(self) -> str:
        """The panels' metric in words, such as ``Test accuracy``."""
        words = format_title(self.metrics[0]) if len(self.metrics) == 1 else "test metric"
        return f"{words[:1].upper()}{words[1:]}"

    def get(self, row: int, column: int) -> Panel | None:
        """The panel at a place; None if there is none, or the place is outside the grid."""
        inside = 0 <= row < len(self.rows) and 0 <= column < len(self.rows[row])
        return self.rows[row][column] if inside else None

    def describe_omissions(self) -> str:
        """How many panels the figure leaves out, in words; empty if none."""
        drawn = len(self.panels)
        return f"Drawn: {drawn} of {self.total} panels." if drawn < self.total else ""


@dataclass(frozen=True)
class Spacing:
    """The size of a panel and the space around it, in inches."""

    width: float
    height: float
    left: float = 0.75
    right: float = 0.25
    gap_x: float = 0.3
    gap_y: float = 0.5
    bottom: float = 0.45

    def enlarge_for(self, grid: PanelGrid) -> Spacing:
        """The spacing with larger panels if only one or two of them are side by side."""
        factor = {1: 1.6, 2: 1.2}.get(len(grid.rows[0]) if grid.rows else 1, 1.0)
        return replace(self, width=self.width * factor, height=self.height * min(factor, 1.25))


@dataclass(frozen=True)
class Header:
    """What is written above the panels."""

    title: str
    lines: Sequence[str]
    legend: Sequence[Artist] = ()


class PlacedPanel(NamedTuple):
    """A panel, its axes, and its place in the grid."""

    panel: Panel
    axes: Axes
    row: int
    column: int


def arrange_panels(
    frame: pd.DataFrame, design: Design, inside: Iterable[str], metric: str | None = None
) -> PanelGrid:
    """Panels for every combination of the factors that vary and are not `inside` them.

    Models and data make rows, the other factors columns. If only one of the two varies, the panels
    are wrapped.

    Args:
        frame: the rows to show (`fanin.analysis.frames.build_frame`).
        design: the design of the whole frame.
        inside: the factors that each panel shows.
        metric: what to show; by default the main test metric of each panel's model and data.
    """
    inside = set(inside)
    outer = [name for name in design.varying if name not in inside and not _is_tuned(design, name)]
    down, across = _split_factors(frame, outer)
    panels: dict[Any, dict[Any, Panel]] = {}
    for key, rows in group_rows(frame, [*down, *across]):
        row, column = key[: len(down)], key[len(down) :]
        same = rows if not across else _select_rows(frame, down, row)
        shown = metric or find_main_metric(rows) or find_main_metric(same)
        if shown is None or shown not in frame:
            continue
        title = design.join_values(dict(zip([*down, *across], key, strict=True)))
        panels.setdefault(row, {})[column] = Panel(
            title,
            rows,
            shown,
            is_higher_better(shown, get_directions(frame)),
            (rows["model"].iloc[0], rows["data"].iloc[0], shown),
            str(frame.attrs.get("datasets", {}).get(rows["data"].iloc[0], "")),
        )
    table = _make_table(panels)
    shown_elsewhere = {*outer, *inside, *design.nameless}
    constant = [name for name in ("model", "data") if name not in shown_elsewhere]
    return PanelGrid(
        rows=tuple(row[:MAX_COLUMNS] for row in table[:MAX_ROWS]),
        subtitle=" · ".join(design.name_value(name, frame[name].iloc[0]) for name in constant),
        total=sum(panel is not None for row in table for panel in row),
    )


def draw_empty_panels(
    grid: PanelGrid, spacing: Spacing, header: Header
) -> tuple[Figure, list[PlacedPanel]]:
    """A figure with its header and its panels, which have titles and are otherwise empty."""
    rows, columns = len(grid.rows), len(grid.rows[0])
    panels_width = columns * spacing.width + (columns - 1) * spacing.gap_x
    width = max(spacing.left + panels_width + spacing.right, 5.6)
    per_line = _count_legend_columns(header.legend, width - spacing.left - spacing.right)
    legend_lines = -(-len(header.legend) // per_line) if header.legend else 0
    top = _EDGE + _TITLE + _LINE * len(header.lines) + _LEGEND_LINE * legend_lines
    top += 0.3 if any(panel.title for panel in grid.panels) else 0.14
    height = top + rows * spacing.height + (rows - 1) * spacing.gap_y + spacing.bottom
    figure = Figure(figsize=(width, height))
    placed = []
    for i, row in enumerate(grid.rows):
        for j, panel in enumerate(row):
            if panel is None:
                continue
            left = spacing.left + j * (spacing.width + spacing.gap_x)
            low = height - top - i * spacing.gap_y - (i + 1) * spacing.height
            axes = figure.add_axes(
                (left / width, low / height, spacing.width / width, spacing.height / height)
            )
            axes.set_title(
                fit_text(panel.title, spacing.width, 9),
                fontsize=8.5,
                loc="left",
                pad=4,
                fontweight="bold",
                parse_math=False,
            )
            placed.append(PlacedPanel(panel, axes, i, j))
    _write_header(figure, header, spacing.left / width, per_line)
    if omissions := grid.describe_omissions():
        x, y = spacing.left / width, 0.05 / height
        figure.text(x, y, omissions, fontsize=8, color=WARNING, parse_math=False)
    return figure, placed


def make_header_lines(
    grid: PanelGrid, factor: str = "", values: int = 0, limit: int = 0
) -> list[str]:
    """What all panels have in common, and how many of a factor's values are drawn if not all.

    Args:
        grid: the panels.
        factor: the factor that each panel shows, in words.
        values: how many values it has.
        limit: how many of them are drawn.
    """
    lines = [grid.subtitle] if grid.subtitle else []
    if values > limit:
        lines.append(f"the first {limit} of {values} values of {factor}")
    return lines


def make_legend_line(label: str, **style: Any) -> Line2D:
    """A line of a legend; its label may hold any characters."""
    text = escape_invisible(label)
    # matplotlib leaves out labels that begin with an underscore.
    return Line2D([], [], label=f" {text}" if text.startswith("_") else text, **style)


def _is_tuned(design: Design, name: str) -> bool:
    return design.tuned and name == "learning_rate"


def _split_factors(frame: pd.DataFrame, outer: Sequence[str]) -> tuple[list[str], list[str]]:
    """The factors that make rows, and those that make columns."""
    down = [name for name in outer if name.partition(".")[0] in ("model", "data")]
    across = [name for name in outer if name not in down]
    if (not across and len(down) == 2) or (not down and len(across) == 2):
        # Two factors of one kind make a table too, instead of a long row.
        fewer, more = sorted(down or across, key=lambda name: frame[name].nunique())
        return ([fewer], [more]) if across else (down[:1], down[1:])
    return down, across


def _make_table(panels: dict[Any, dict[Any, Panel]]) -> list[Row]:
    """Rows of one length from row → column → panel."""
    columns = list(dict.fromkeys(column for row in panels.values() for column in row))
    table: list[Row] = [tuple(row.get(column) for column in columns) for row in panels.values()]
    if any(panel is None for row in table for panel in row):
        # Titles say what a panel shows, so columns need not.
        table = _pad([tuple(panel for panel in row if panel) for row in table])
    if len(columns) == 1 or len(table) == 1:
        flat = [panel for row in table for panel in row]
        table = _pad([tuple(flat[i : i + _WRAP]) for i in range(0, len(flat), _WRAP)])
    return table


def _pad(rows: Sequence[Row]) -> list[Row]:
    """Rows as long as the longest, filled with None."""
    longest = max(map(len, rows), default=0)
    return [(*row, *[None] * (longest - len(row))) for row in rows]


def _select_rows(frame: pd.DataFrame, names: Sequence[str], key: tuple[Any, ...]) -> pd.DataFrame:
    """The rows with these values."""
    for name, value in zip(names, key, strict=True):
        frame = frame[frame[name] == value]
    return frame


def _count_legend_columns(legend: Sequence[Artist], width: float) -> int:
    longest = max((len(str(line.get_label())) for line in legend), default=1)
    return max(min(int(width / (longest * _LETTER + 0.6)), len(legend)), 1)


def _write_header(figure: Figure, header: Header, left: float, per_line: int) -> None:
    width, height = figure.get_size_inches()
    inches = width * (1 - left)
    y = height - _EDGE
    title = fit_text(header.title, inches, 11.5)
    figure.text(left, y / height, title, fontsize=11, fontweight="bold", va="top", parse_math=False)
    y -= _TITLE - 0.04
    for line in header.lines:
        text = fit_text(line, inches, 7.6)
        figure.text(left, y / height, text, fontsize=8, color=QUIET, va="top", parse_math=False)
        y -= _LINE
    if header.legend:
        legend = figure.legend(
            handles=list(header.legend),
            loc="upper left",
            bbox_to_anchor=(left, y / height),
            ncols=per_line,
            frameon=False,
            fontsize=8,
            handlelength=2.0,
            columnspacing=1.4,
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.45,
        )
        for entry in legend.get_texts():
            entry.set_parse_math(False)
