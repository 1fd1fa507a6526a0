"""Heat map: a metric over two factors, in colours that read in grey and for colour-blind people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import Condition, estimate_condition
from fanin.analysis.design import Design, group_rows, is_numeric
from fanin.analysis.factors import format_title, format_value, is_number
from fanin.analysis.summary import get_directions, is_higher_better
from fanin.report.figures import axes as axis
from fanin.report.figures.curve_panel import QUIET, tick_text
from fanin.report.figures.panel_grid import Facet, Head, Room, canvas, layout_of, legend_line
from fanin.report.figures.rendering import fitted
from fanin.report.figures.response_curves import metric_scale

Curve = tuple[Sequence[float], Sequence[float], str]
"""x, y and label of a line drawn over a heat map, in the factors' units."""

MAX_WRITTEN = 8
"""Cells along an axis up to which each has its number written in it."""

_NUMBER_WIDTH = 0.36
"""Inches of the narrowest cell from which numbers fit into all of them."""

MAX_VALUES = 40
"""Values of a factor that a heat map can show."""

_COLOURS = "cividis"
_OVERLAYS = ("-", "--", ":")
_ROOM = Room(width=2.9, height=2.3, gap_x=0.35, gap_y=0.85, right=0.95, bottom=0.5)


@dataclass(frozen=True)
class _Axis:
    """One factor as an axis: its values and the edges of the cells around them."""

    name: str
    values: list[Any]
    edges: np.ndarray
    numeric: bool
    log: bool

    def place(self, value: Any) -> int:
        return self.values.index(value)

    def share(self, i: int) -> float:
        """The share of the axis that the cells of value i take."""
        edges = np.log(self.edges) if self.log else self.edges
        return float((edges[i + 1] - edges[i]) / (edges[-1] - edges[0]))


def heat_map(
    analysis: Analysis,
    x: str,
    y: str,
    *,
    metric: str | None = None,
    overlays: Sequence[Curve] | Mapping[str, Sequence[Curve]] = (),
) -> Figure:
    """The figure of an analysis; panels for the values of whatever else varies.

    A panel's axes hold the values that it has. A cell's colour is the mean over its replicates,
    brighter being better. Where a replicate diverged it is hatched, and its colour the median with
    the diverged counted as worst; grey where half or more diverged, white where nothing has run.

    Args:
        analysis: what to draw.
        x: the factor on the horizontal axis, of numbers or words.
        y: that on the vertical one.
        metric: a column of metrics; by default each panel's main test metric.
        overlays: curves (x, y, label) to draw over every panel, or over those of a title
            (``tanh``).
    """
    frame, design = analysis.frame, analysis.design
    layout = layout_of(frame, design, [x, y], metric)
    axes_of = {id(facet): (_axis(facet.rows, x), _axis(facet.rows, y)) for facet in layout.all}
    conditions = {id(facet): _conditions(facet, *axes_of[id(facet)], frame) for facet in layout.all}
    curves = {facet.title: _curves(overlays, facet) for facet in layout.all}
    together = len({facet.scale for facet in layout.all}) == 1
    room = _room(list(axes_of.values()), together, _ROOM.fitting(layout))
    what = format_title(layout.metrics[0]) if len(layout.metrics) == 1 else "test metric"
    heading = (
        f"{what[:1].upper()}{what[1:]} by {design.format_title(x)} and {design.format_title(y)}"
    )
    every = [condition for found in conditions.values() for condition in found.values()]
    styles = _styles(curves.values())
    legend = _legend(every, styles)
    figure, placed = canvas(
        layout, room, Head(heading, [layout.subtitle] if layout.subtitle else [], legend)
    )
    paints = {facet.scale: _paint(facet, layout.all, conditions, frame) for facet in layout.all}
    for facet, axes, i, j in placed:
        colours, norm = paints[facet.scale]
        across, up = axes_of[id(facet)]
        before = layout.facets[i][j - 1] if j else None
        _draw(axes, conditions[id(facet)], across, up, colours, norm, facet.metric)
        _draw_curves(axes, curves[facet.title], styles)
        _finish(
            axes,
            across,
            up,
            room,
            design,
            left=before is None or axes_of[id(before)][1].values != up.values,
        )
        following = layout.facets[i][j + 1] if j + 1 < len(layout.facets[i]) else None
        if following is None or following.scale != facet.scale:
            _colour_bar(figure, axes, colours, norm, facet, frame)
    return figure


def _axis(frame: pd.DataFrame, name: str) -> _Axis:
    values = list(dict.fromkeys(frame[name]))[:MAX_VALUES]
    if is_numeric(frame, name):
        values = sorted(value for value in values if is_number(value))
        log = axis.is_logarithmic(values)
        return _Axis(name, values, axis.edges(values, log=log), True, log)
    return _Axis(name, values, np.arange(len(values) + 1) - 0.5, False, False)


def _conditions(
    facet: Facet, across: _Axis, up: _Axis, frame: pd.DataFrame
) -> dict[tuple[int, int], Condition]:
    higher = is_higher_better(facet.metric, get_directions(frame))
    return {
        (across.place(key[0]), up.place(key[1])): estimate_condition(
            rows, facet.metric, higher_is_better=higher
        )
        for key, rows in group_rows(facet.rows, [across.name, up.name])
        if key[0] in across.values and key[1] in up.values
    }


def _paint(
    facet: Facet,
    facets: Sequence[Facet],
    conditions: Mapping[int, Mapping[Any, Condition]],
    frame: pd.DataFrame,
) -> tuple[Colormap, Normalize]:
    """Colours and their range for the panels that share a scale; the better end is the bright one."""
    same = [one for one in facets if one.scale == facet.scale]
    values = [
        c.centre for one in same for c in conditions[id(one)].values() if math.isfinite(c.centre)
    ]
    scale = metric_scale(facet.metric, values)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    high = high if high > low else low + (abs(low) or 1.0)
    better_high = is_higher_better(facet.metric, get_directions(frame))
    colours = colormaps[_COLOURS if better_high else f"{_COLOURS}_r"]
    return colours, (LogNorm(low, high) if scale.log else Normalize(low, high))


def _draw(
    axes: Axes,
    conditions: Mapping[tuple[int, int], Condition],
    across: _Axis,
    up: _Axis,
    colours: Colormap,
    norm: Normalize,
    metric: str,
) -> None:
    width = axes.get_window_extent().width / axes.figure.dpi
    narrowest = min(across.share(i) for i in range(len(across.values))) * width
    written = (
        narrowest >= _NUMBER_WIDTH
        and len(across.values) <= MAX_WRITTEN
        and len(up.values) <= MAX_WRITTEN
    )
    for (i, j), condition in conditions.items():
        left, right, low, high = *across.edges[i : i + 2], *up.edges[j : j + 2]
        known = math.isfinite(condition.centre)
        colour: Any = (
            colours(norm(condition.centre))
            if known
            else "#D9D9D9"
            if condition.diverged
            else "white"
        )
        ink = "black" if _brightness(colour) > 0.5 else "white"
        axes.add_patch(
            Rectangle(
                (left, low),
                right - left,
                high - low,
                facecolor=colour,
                edgecolor="white",
                linewidth=0.4,
            )
        )
        if condition.diverged:
            hatch = Rectangle(
                (left, low), right - left, high - low, facecolor="none", edgecolor=ink, linewidth=0
            )
            hatch.set(hatch="////" if known else "xxxx", alpha=0.45)
            axes.add_patch(hatch)
        if written and (known or condition.diverged):
            text = (
                _short(condition.centre, metric)
                if known
                else f"{condition.diverged}/{condition.planned}"
            )
            middle = _middle(left, right, log=across.log), _middle(low, high, log=up.log)
            outline = [patheffects.withStroke(linewidth=1.6, foreground=colour)]
            axes.text(
                *middle,
                text,
                ha="center",
                va="center",
                fontsize=6.5,
                color=ink,
                path_effects=outline,
            )


def _styles(panels: Iterable[Sequence[Curve]]) -> dict[str, str]:
    """Label → line style: curves of one label look alike, in every panel."""
    labels = dict.fromkeys(label for curves in panels for _, _, label in curves)
    return {label: _OVERLAYS[number % 3] for number, label in enumerate(labels)}


def _draw_curves(axes: Axes, curves: Sequence[Curve], styles: Mapping[str, str]) -> None:
    edge = [patheffects.withStroke(linewidth=3.4, foreground="white")]
    for x, y, label in curves:
        axes.plot(
            x, y, color="black", linewidth=1.5, linestyle=styles[label], path_effects=edge, zorder=5
        )


def _finish(
    axes: Axes, across: _Axis, up: _Axis, room: Room, design: Design, *, left: bool
) -> None:
    axis.prepare(axes)
    for which, one, inches in (("x", across, room.width), ("y", up, room.height)):
        getattr(axes, f"set_{which}lim")(one.edges[0], one.edges[-1])
        if one.numeric:
            axis.factor_axis(axes, one.values, which, inches, log=one.log)
            getattr(axes, f"set_{which}lim")(one.edges[0], one.edges[-1])
        else:
            _words_axis(axes, one, which, inches)
        words = (
            f"{design.format_title(one.name)} (log)" if one.log else design.format_title(one.name)
        )
        if which == "x" or left:
            getattr(axes, f"set_{which}label")(
                words, fontsize=8, color=QUIET, labelpad=2, parse_math=False
            )
    if not left:
        axes.tick_params(axis="y", labelleft=False)
    axes.tick_params(length=0)


def _words_axis(axes: Axes, one: _Axis, which: str, inches: float) -> None:
    places = list(range(len(one.values)))
    if which == "x":
        each = inches / len(places)
        names = [format_value(value) for value in one.values]
        turned = _turned(one, inches)
        shown = [fitted(name, 1.1 if turned else each * 1.2, 7.5) for name in names]
        axes.set_xticks(
            places, shown, rotation=30 if turned else 0, ha="right" if turned else "center"
        )
        axes.tick_params(axis="x", pad=1)
    else:
        axes.set_yticks(places, [fitted(format_value(value), 1.3, 7.5) for value in one.values])
        axes.invert_yaxis()
    for label in getattr(axes, f"get_{which}ticklabels")():
        label.set_parse_math(False)
    getattr(axes, f"{which}axis").set_minor_locator(NullLocator())


def _colour_bar(
    figure: Figure,
    axes: Axes,
    colours: Colormap,
    norm: Normalize,
    facet: Facet,
    frame: pd.DataFrame,
) -> None:
    box, width = axes.get_position(), figure.get_figwidth()
    place = figure.add_axes((box.x1 + 0.1 / width, box.y0, 0.11 / width, box.height))
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=place)
    bar.outline.set_visible(False)
    if not isinstance(norm, LogNorm):
        place.yaxis.set_major_locator(MaxNLocator(5))
    place.yaxis.set_major_formatter(FuncFormatter(tick_text))
    place.yaxis.set_minor_locator(NullLocator())
    if not is_higher_better(facet.metric, get_directions(frame)):
        place.invert_yaxis()
    place.tick_params(labelsize=7.5, colors=QUIET, length=2, pad=2)
    place.set_ylabel(
        format_title(facet.metric), fontsize=8, color=QUIET, labelpad=3, parse_math=False
    )


def _room(axes: Sequence[tuple[_Axis, _Axis]], together: bool, room: Room) -> Room:
    """Room for the names of words, and for a bar of colours beside each panel that has its own."""
    longest = max(
        (len(format_value(value)) for _, up in axes if not up.numeric for value in up.values),
        default=0,
    )
    left = max(room.left, min(longest, 24) * 0.075 + 0.5)
    more = (
        0.45
        if any(not across.numeric and _turned(across, room.width) for across, _ in axes)
        else 0.0
    )
    gap_x = room.gap_x if together else 0.95
    if any(up.values != axes[0][1].values for _, up in axes):
        gap_x += left - 0.2
    return replace(room, left=left, gap_x=gap_x, gap_y=room.gap_y + more, bottom=room.bottom + more)


def _turned(one: _Axis, inches: float) -> bool:
    """Whether the names of words below a panel would touch, and are turned."""
    each = inches / len(one.values)
    return any(len(format_value(value)) * 0.075 > each for value in one.values)


def _curves(
    overlays: Sequence[Curve] | Mapping[str, Sequence[Curve]], facet: Facet
) -> Sequence[Curve]:
    return overlays.get(facet.title, ()) if isinstance(overlays, Mapping) else overlays


def _legend(conditions: Sequence[Condition], styles: Mapping[str, str]) -> list[Line2D]:
    legend = [
        legend_line(label, color="black", linewidth=1.5, linestyle=style)
        for label, style in styles.items()
    ]
    medians = {math.isfinite(condition.centre) for condition in conditions if condition.diverged}
    if True in medians:
        legend.append(
            _patch("some replicates diverged (colour: median)", facecolor="#B5AD78", hatch="////")
        )
    if False in medians:
        legend.append(_patch("half or more diverged", facecolor="#D9D9D9", hatch="xxxx"))
    return legend


def _patch(label: str, **style: Any) -> Any:
    return Rectangle((0, 0), 1, 1, label=label, edgecolor="#555555", linewidth=0, **style)


def _short(value: float, metric: str) -> str:
    return f"{value:.3f}" if metric.endswith("accuracy") else tick_text(float(f"{value:.3g}"))


def _middle(low: float, high: float, *, log: bool) -> float:
    return math.sqrt(low * high) if log else (low + high) / 2


def _brightness(colour: Any) -> float:
    """Relative luminance of a colour, from 0 to 1."""
    red, green, blue = to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
