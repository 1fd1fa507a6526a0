"""Small multiples: one panel per setting of the factors that a figure does not draw inside its
panels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.analysis.design import Design, group_rows
from fanin.analysis.summary import find_main_metric
from fanin.report.escaping import escape_invisible
from fanin.report.figures.curve_panel import QUIET, WARNING
from fanin.report.figures.rendering import fitted

MAX_ROWS, MAX_COLUMNS = 8, 6
"""Panels of one figure; beyond that it says what it leaves out."""

_WRAPPED = 3
"""Columns, where one kind of factor alone makes the panels."""

_TITLE, _LINE, _LEGEND_LINE, _EDGE = 0.3, 0.2, 0.168, 0.12
"""Heights of a figure's title, of a line below it, of a line of its legend, and of its margin, in
inches.
"""

_LETTER = 0.068
"""About the width of a letter of a legend, in inches."""


@dataclass(frozen=True)
class Facet:
    """What one panel shows."""

    title: str
    rows: pd.DataFrame
    metric: str
    scale: tuple[Any, ...]
    """Panels that agree in it are of the same model, data and metric, and share a scale."""


@dataclass(frozen=True)
class Layout:
    """The panels of a figure, row by row; None where the study has no such setting."""

    facets: tuple[tuple[Facet | None, ...], ...]
    subtitle: str
    """What all panels have in common."""
    left_out: str

    @property
    def all(self) -> list[Facet]:
        """Every panel."""
        return [facet for row in self.facets for facet in row if facet]

    @property
    def metrics(self) -> list[str]:
        """The metrics that are shown."""
        return list(dict.fromkeys(facet.metric for facet in self.all))


@dataclass(frozen=True)
class Room:
    """Inches of a panel and around it."""

    width: float
    height: float
    left: float = 0.75
    right: float = 0.25
    gap_x: float = 0.3
    gap_y: float = 0.5
    bottom: float = 0.45

    def fitting(self, layout: Layout) -> Room:
        """The room with larger panels where there is only one of them, or two side by side."""
        factor = {1: 1.6, 2: 1.2}.get(len(layout.facets[0]) if layout.facets else 1, 1.0)
        return replace(self, width=self.width * factor, height=self.height * min(factor, 1.25))


@dataclass(frozen=True)
class Head:
    """What stands above the panels."""

    title: str
    lines: Sequence[str]
    legend: Sequence[Line2D] = field(default_factory=tuple)


def layout_of(
    frame: pd.DataFrame, design: Design, inside: Iterable[str], metric: str | None = None
) -> Layout:
    """Panels for every setting of the factors that vary and are not `inside` them.

    Rows are models and data, columns the other factors; where one of the two does not vary the
    panels are wrapped.

    Args:
        frame: of `fanin.analysis.frames.build_frame`.
        design: its design.
        inside: the factors that panels show themselves.
        metric: what to show; by default the main test metric of each panel's model and data.
    """
    inside = set(inside)
    outer = [
        name
        for name in design.varying
        if name not in inside and not (design.tuned and name == "learning_rate")
    ]
    down = [name for name in outer if name.partition(".")[0] in ("model", "data")]
    across = [name for name in outer if name not in down]
    if (not across and len(down) == 2) or (
        not down and len(across) == 2
    ):  # a table of panels, rather than a long row
        fewer, more = sorted(down or across, key=lambda name: frame[name].nunique())
        down, across = ([fewer], [more]) if across else (down[:1], down[1:])
    found: dict[Any, dict[Any, Facet]] = {}
    for key, rows in group_rows(frame, [*down, *across]):
        row, column = key[: len(down)], key[len(down) :]
        same = rows if not across else _like(frame, down, row)
        shown = metric or find_main_metric(rows) or find_main_metric(same)
        if shown is None or shown not in frame:
            continue
        words = design.join_values(dict(zip([*down, *across], key, strict=True)))
        scale = (rows["model"].iloc[0], rows["data"].iloc[0], shown)
        found.setdefault(row, {})[column] = Facet(words, rows, shown, scale)
    constant = [name for name in ("model", "data") if name not in outer and name not in inside]
    subtitle = " · ".join(design.name_value(name, frame[name].iloc[0]) for name in constant)
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    table = [tuple(row.get(column) for column in columns) for row in found.values()]
    if any(facet is None for row in table for facet in row):
        table = _flush_left(table)
    if len(columns) == 1 or len(table) == 1:
        flat = [facet for row in table for facet in row]
        table = [tuple(flat[i : i + _WRAPPED]) for i in range(0, len(flat), _WRAPPED)]
        table = [(*row, *[None] * (len(table[0]) - len(row))) for row in table]
    shown_rows = tuple(row[:MAX_COLUMNS] for row in table[:MAX_ROWS])
    total, drawn = sum(map(bool, sum(table, ()))), sum(map(bool, sum(shown_rows, ())))
    return Layout(
        shown_rows, subtitle, f"Drawn: {drawn} of {total} panels." if drawn < total else ""
    )


def canvas(
    layout: Layout, room: Room, head: Head
) -> tuple[Figure, list[tuple[Facet, Axes, int, int]]]:
    """A figure with its title, legend and empty panels: (panel, its axes, row, column), titled."""
    rows, columns = len(layout.facets), len(layout.facets[0])
    width = max(room.left + columns * room.width + (columns - 1) * room.gap_x + room.right, 5.6)
    per_line = _legend_columns(head.legend, width - room.left - room.right)
    legend_lines = -(-len(head.legend) // per_line) if head.legend else 0
    top = _EDGE + _TITLE + _LINE * len(head.lines) + _LEGEND_LINE * legend_lines
    top += 0.3 if any(facet.title for facet in layout.all) else 0.14
    height = top + rows * room.height + (rows - 1) * room.gap_y + room.bottom
    figure = Figure(figsize=(width, height))
    placed = []
    for i, row in enumerate(layout.facets):
        for j, facet in enumerate(row):
            if facet is None:
                continue
            left, low = (
                room.left + j * (room.width + room.gap_x),
                height - top - i * room.gap_y - (i + 1) * room.height,
            )
            axes = figure.add_axes(
                (left / width, low / height, room.width / width, room.height / height)
            )
            title = fitted(facet.title, room.width, 9)
            axes.set_title(
                title, fontsize=8.5, loc="left", pad=4, fontweight="bold", parse_math=False
            )
            placed.append((facet, axes, i, j))
    _write_head(figure, head, room.left / width, per_line)
    if layout.left_out:
        figure.text(
            room.left / width,
            0.05 / height,
            layout.left_out,
            fontsize=8,
            color=WARNING,
            parse_math=False,
        )
    return figure, placed


def _flush_left(table: Sequence[tuple[Facet | None, ...]]) -> list[tuple[Facet | None, ...]]:
    """Rows without holes, as long as the longest; titles say what a panel is, so columns need not."""
    rows = [tuple(facet for facet in row if facet) for row in table]
    longest = max(map(len, rows))
    return [(*row, *[None] * (longest - len(row))) for row in rows]


def _like(frame: pd.DataFrame, names: Sequence[str], key: tuple[Any, ...]) -> pd.DataFrame:
    """The rows with these values."""
    for name, value in zip(names, key, strict=True):
        frame = frame[frame[name] == value]
    return frame


def _legend_columns(legend: Sequence[Line2D], width: float) -> int:
    longest = max((len(str(line.get_label())) for line in legend), default=1)
    return max(min(int(width / (longest * _LETTER + 0.6)), len(legend)), 1)


def _write_head(figure: Figure, head: Head, left: float, per_line: int) -> None:
    width, height = figure.get_size_inches()
    room = width * (1 - left)
    at = height - _EDGE
    shown = fitted(head.title, room, 11.5)
    figure.text(
        left, at / height, shown, fontsize=11, fontweight="bold", va="top", parse_math=False
    )
    at -= _TITLE - 0.04
    for line in head.lines:
        figure.text(
            left,
            at / height,
            fitted(line, room, 7.6),
            fontsize=8,
            color=QUIET,
            va="top",
            parse_math=False,
        )
        at -= _LINE
    if head.legend:
        legend = figure.legend(
            handles=list(head.legend), loc="upper left", bbox_to_anchor=(left, at / height), ncols=per_line, frameon=False,
            fontsize=8, handlelength=2.0, columnspacing=1.4, borderaxespad=0, borderpad=0, labelspacing=0.45,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def legend_line(label: str, **style: Any) -> Line2D:
    """A line of a legend, its label made harmless."""
    # matplotlib leaves out labels that begin with an underscore.
    shown = escape_invisible(label)
    return Line2D([], [], label=f" {shown}" if shown.startswith("_") else shown, **style)
