"""The critical-difference diagram: average ranks of compared values over problems."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design
from fanin.analysis.problem_ranks import ProblemRanks
from fanin.analysis.statistics.ranks import MIN_PROBLEMS
from fanin.report.conclusion_words import format_p_value
from fanin.report.figures.palette import FRAME, LINE_COLOURS, LINE_MARKERS, QUIET
from fanin.report.figures.rendering import fit_text

_WIDTH, _LEFT, _RIGHT = 6.4, 1.7, 0.35
_HEAD, _FOOT = 0.95, 0.5
_ROW, _BAR = 0.22, 0.14
"""Inches of a value's row, and of a bar that joins values."""


_FEWEST = 3
"""Two values need no diagram."""


@dataclass(frozen=True)
class _Bar:
    """Values that are not told apart: from the best to the worst of their ranks."""

    low: float
    high: float


def draw_rank_diagram(analysis: Analysis) -> Figure | None:
    """A row for each compared value at its average rank, the best on top; bars below join values
    whose ranks lie within one critical difference (Nemenyi, 5 %), which has its own bar above.

    None with fewer than three values, or fewer than three problems that hold them. Below ten
    problems there is no critical difference, and the figure says that it describes these only.

    Reference: J. Demšar, Journal of Machine Learning Research 7, 2006.
    """
    found = analysis.problem_ranks
    if found is None or len(found.names) < _FEWEST:
        return None
    bars = _list_bars(found)
    inside = _ROW * len(found.names) + _BAR * (len(bars) + 1)
    height = _HEAD + inside + _FOOT
    figure = Figure(figsize=(_WIDTH, height))
    across = _WIDTH - _LEFT - _RIGHT
    axes = figure.add_axes((_LEFT / _WIDTH, _FOOT / height, across / _WIDTH, inside / height))
    _style(axes, len(found.names), inside)
    for row, index in enumerate(found.order):
        _draw_value(axes, found, index, _ROW * (row + 0.5))
    for number, bar in enumerate(bars, 1):
        y = _ROW * len(found.names) + _BAR * number
        axes.plot([bar.low, bar.high], [y, y], color="black", lw=3, solid_capstyle="butt")
    title = f"Average ranks of {analysis.design.format_title(analysis.design.compared)}s"
    _write_head(figure, title, _describe(found, analysis.design), height)
    if math.isfinite(found.comparison.critical_difference):
        _draw_scale(axes, found.comparison.critical_difference, len(found.names))
    return figure


def _list_bars(found: ProblemRanks) -> list[_Bar]:
    if found.comparison.is_descriptive:
        return []
    ranks = found.comparison.ranks
    return [
        _Bar(min(ranks[i] for i in group), max(ranks[i] for i in group))
        for group in found.comparison.groups
    ]


def _describe(found: ProblemRanks, design: Design) -> list[str]:
    others = f"; {found.others} more hold other values" if found.others else ""
    blocks, over = "sections", f"{found.sections} sections as problems"
    if found.settings:
        blocks = "problems"
        titles = " and ".join(map(design.format_title, found.settings))
        over = f"{found.problems} problems, by the mean rank over {titles} in each"
    lines = [f"over {over}{others}; 1 is the best"]
    comparison = found.comparison
    if comparison.is_descriptive:
        return [*lines, f"descriptive: a test over {blocks} needs {MIN_PROBLEMS} of them"]
    p = format_p_value(comparison.p_value)
    return [*lines, f"bars join what is not told apart (Nemenyi, 5 %); Friedman, p {p}"]


def _style(axes: Axes, values: int, inside: float) -> None:
    axes.set_xlim(1 - 0.08 * (values - 1), values + 0.08 * (values - 1))
    axes.set_ylim(inside, 0)
    axes.set_yticks([])
    axes.set_xticks(range(1, values + 1))
    axes.tick_params(axis="x", labelsize=7.5, colors=QUIET, length=2.5)
    axes.set_xlabel("average rank", fontsize=8, color=QUIET, labelpad=2)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FRAME)


def _draw_value(axes: Axes, found: ProblemRanks, index: int, y: float) -> None:
    """The value's name at the left, a faint line, its marker, and the rank beside it.

    Colour and marker number the values in the plan's order, as in all figures.
    """
    rank = found.comparison.ranks[index]
    colour = LINE_COLOURS[index % len(LINE_COLOURS)]
    marker = LINE_MARKERS[index % len(LINE_MARKERS)]
    axes.axhline(y, color=FRAME, lw=0.5, zorder=0)
    axes.plot([rank], [y], marker, color=colour, ms=6, zorder=3)
    axes.annotate(
        f"{rank:.1f}",
        (rank, y),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=QUIET,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )
    axes.text(
        -0.02,
        y,
        fit_text(found.names[index], _LEFT - 0.2, 8),
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="center",
        fontsize=8,
        parse_math=False,
    )


def _draw_scale(axes: Axes, difference: float, values: int) -> None:
    """One critical difference as a bar above the axes."""
    end = min(1 + difference, values)
    axes.annotate(
        "",
        (1, -0.1),
        (end, -0.1),
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "|-|,widthA=0.25,widthB=0.25",
            "lw": 1,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
    axes.text(end, -0.1, f"  critical difference {difference:.2f}", fontsize=7.5, va="center")


def _write_head(figure: Figure, title: str, lines: list[str], height: float) -> None:
    left = 0.2 / _WIDTH
    y = height - 0.12
    figure.text(left, y / height, title, fontsize=11, fontweight="bold", va="top", parse_math=False)
    for line in lines:
        y -= 0.22
        figure.text(left, y / height, line, fontsize=8, color=QUIET, va="top", parse_math=False)
