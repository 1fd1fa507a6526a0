"""Figures of claims: contrasts and their intervals, in smallest effects of interest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.claims.claim_verdict import ClaimVerdict
from fanin.claims.contrast import ContrastResult
from fanin.claims.verdict_words import describe_amount, describe_interval
from fanin.report.figures.palette import FRAME, GRID, QUIET
from fanin.report.figures.rendering import draw_message, fit_text

VERDICT_STYLES = {
    "supported": ("#009E73", "o"),
    "refuted": ("#D55E00", "s"),
    "inconclusive": (QUIET, "D"),
}
"""Verdict → colour and marker: they differ without colour, too."""

_ROW, _HEAD, _FOOT = 0.24, 0.3, 0.62
_MIDDLE, _RIGHT = 2.9, 2.6
"""Widths of the axis and of the numbers, in inches."""

_LINEAR = 2.0
"""Up to so many smallest effects the axis is linear, beyond it is logarithmic."""

_MOST = 100.0
"""What lies beyond is drawn at the edge, as an arrow."""


@dataclass(frozen=True)
class FigureRow:
    """A heading, or a name and its contrast."""

    name: str
    result: ContrastResult | None = None


def draw_claim(verdict: ClaimVerdict) -> Figure:
    """All contrasts of a claim, part by part."""
    rows = []
    for part in verdict.parts:
        measured = [found for found in part.list_contrasts() if found.effect.n]
        if measured:
            rows.append(FigureRow(f"{part.part.title}: {part.verdict}"))
            rows += [FigureRow(found.contrast.label, found) for found in measured]
    return draw_rows(rows)


def draw_overview(verdicts: Iterable[ClaimVerdict]) -> Figure:
    """The deciding contrast of each claim."""
    found = [verdict for verdict in verdicts if verdict.n]
    order = {name: number for number, name in enumerate(VERDICT_STYLES)}
    rows: list[FigureRow] = []
    for word in order:
        having = [verdict for verdict in found if verdict.verdict == word]
        rows += [FigureRow(word)] * bool(having)
        rows += [FigureRow(verdict.claim.name, verdict.decisive) for verdict in having]
    return draw_rows(rows)


def draw_rows(rows: Sequence[FigureRow]) -> Figure:
    """Rows of contrasts: an interval, its middle, and both as numbers.

    The axis counts smallest effects of interest: at 1 an effect matters, at 0 there is none. The
    grey band holds what does not matter.
    """
    if not rows:
        return draw_message("No results yet.")
    height = _HEAD + _ROW * len(rows) + _FOOT
    longest = max((len(row.name) for row in rows if row.result), default=0)
    left = min(max(0.4 + 0.066 * longest, 1.6), 4.7)
    width = left + _MIDDLE + _RIGHT
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (left / width, _FOOT / height, _MIDDLE / width, _ROW * len(rows) / height)
    )
    _style(axes, len(rows))
    for number, row in enumerate(rows):
        if row.result is None:
            _write(axes, 0.08 - left, number, row.name, left + _MIDDLE, bold=True)
        else:
            _draw_result(axes, number, row.result)
            _write(axes, 0.2 - left, number, row.name, left - 0.2)
    _draw_legend(figure, height)
    return figure


def _style(axes: Axes, rows: int) -> None:
    axes.set_xscale("symlog", linthresh=_LINEAR, linscale=1.4)
    axes.set_xlim(-_MOST, _MOST)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    ticks = [-100, -10, -1, 0, 1, 10, 100]
    axes.set_xticks(ticks, [str(tick).replace("-", "−") for tick in ticks], fontsize=7.5)
    axes.minorticks_off()
    axes.axvspan(-1, 1, color=GRID, zorder=0, lw=0)
    axes.axvline(0, color=FRAME, lw=0.8, zorder=1)
    axes.axvline(1, color=QUIET, lw=0.8, ls=(0, (4, 3)), zorder=1)
    axes.set_xlabel("effect in smallest effects of interest", fontsize=8, color=QUIET)
    axes.tick_params(axis="x", colors=QUIET, length=3)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FRAME)


def _draw_result(axes: Axes, row: int, result: ContrastResult) -> None:
    colour, marker = VERDICT_STYLES.get(result.verdict, VERDICT_STYLES["inconclusive"])
    effect = result.effect
    value, low, high = (
        _clip(number / result.contrast.smallest)
        for number in (effect.value, effect.low, effect.high)
    )
    if not math.isnan(low):
        axes.plot([low, high], [row, row], color=colour, lw=1.8, solid_capstyle="butt", zorder=2)
        for end in {low, high}:
            if abs(end) >= _MOST:
                arrow = ">" if end > 0 else "<"
                axes.plot([end], [row], marker=arrow, color=colour, ms=5, clip_on=False)
    face = "white" if math.isnan(low) else colour
    axes.plot([value], [row], marker, color=colour, mfc=face, ms=5, zorder=3, clip_on=False)
    numbers = describe_amount(result)
    if interval := describe_interval(result):
        numbers += f"  ({interval})"
    _write(axes, _MIDDLE + 0.12, row, numbers, _RIGHT - 0.1)


def _clip(value: float) -> float:
    return value if math.isnan(value) else min(max(value, -_MOST), _MOST)


def _write(
    axes: Axes, inches: float, row: int, text: str, room: float, *, bold: bool = False
) -> None:
    axes.text(
        inches / _MIDDLE,
        row,
        fit_text(text, room, 7.0),
        transform=axes.get_yaxis_transform(),
        ha="left",
        va="center",
        fontsize=7.5,
        fontweight="bold" if bold else "normal",
        parse_math=False,
        clip_on=False,
    )


def _draw_legend(figure: Figure, height: float) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=5, lw=1.8, label=word)
        for word, (colour, marker) in VERDICT_STYLES.items()
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.005, 1 - 0.02 / height),
        ncols=3,
        frameon=False,
        fontsize=7.5,
    )
