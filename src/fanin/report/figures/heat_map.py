"""Heat map: a metric over two factors, in colours that read in grey and for colour-blind people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib import colormaps, patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize, SymLogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import Condition
from fanin.analysis.design import Design
from fanin.analysis.factors import format_value
from fanin.report.figures.cell_axis import CellAxis, make_cell_axis
from fanin.report.figures.palette import QUIET
from fanin.report.figures.panel_grid import (
    Header,
    Panel,
    PanelGrid,
    Spacing,
    arrange_panels,
    draw_empty_panels,
    make_header_lines,
    make_legend_line,
)
from fanin.report.figures.plot_axes import Direction, label_axis, set_factor_axis, style_axes
from fanin.report.figures.rendering import fit_text
from fanin.report.figures.scales import (
    fit_metric_scale,
    format_tick,
)

Curve = tuple[Sequence[float], Sequence[float], str]
"""x, y and label of a line drawn over a heat map, in the factors' units."""

_MAX_NUMBERS = 8
"""Cells along an axis up to which each cell holds its number."""

_NUMBER_WIDTH = 0.36
"""Inches of the narrowest cell in which a number fits."""

_LETTER = 0.075
"""About the width of a letter of a category's name, in inches."""

_COLOURS, _NO_MEDIAN, _NO_RESULT = "cividis", "#D9D9D9", "white"
_NOT_IN_STUDY, _NOT_RUN = "·", "–"
_SOME_DIVERGED, _MOST_DIVERGED = "////", "xxxx"
_LINE_STYLES = ("-", "--", ":")
_SPACING = Spacing(width=2.9, height=2.3, gap_x=0.35, gap_y=0.85, right=0.95, bottom=0.5)


@dataclass(frozen=True)
class HeatPanel:
    """The axes of one panel, and the condition at each pair of their values."""

    across: CellAxis
    up: CellAxis
    conditions: Mapping[tuple[Any, Any], Condition]


@dataclass(frozen=True)
class ColourScale:
    """The colours of a metric's values; the better end is the bright one."""

    colours: Colormap
    norm: Normalize

    def get_colour(self, condition: Condition) -> Any:
        """The colour of a condition's cell."""
        if math.isfinite(condition.centre):
            return self.colours(self.norm(condition.centre))
        return _NO_MEDIAN if condition.diverged else _NO_RESULT


def draw_heat_map(
    analysis: Analysis,
    x: str,
    y: str,
    *,
    metric: str | None = None,
    overlays: Sequence[Curve] | Mapping[str, Sequence[Curve]] = (),
) -> Figure:
    """Draw a metric over two factors; panels for the values of whatever else varies.

    A panel has axes of its own, which hold only the values that it has. A cell's colour is the mean
    over its replicates; brighter is better. If a replicate diverged, the cell is hatched and its
    colour is the median with the diverged counted as worst. It is grey if half or more diverged,
    and white if nothing has run.

    Args:
        analysis: what to draw.
        x: the factor on the horizontal axis, of numbers or words.
        y: the factor on the vertical axis.
        metric: a column of metrics; by default each panel's main test metric.
        overlays: curves (x, y, label) to draw over every panel, or over the panels with a title
            (``tanh``).
    """
    design = analysis.design
    grid = arrange_panels(analysis.frame, design, [x, y], metric)
    drawn = {id(panel): make_heat_panel(panel, x, y) for panel in grid.panels}
    curves = {panel.title: select_curves(overlays, panel) for panel in grid.panels}
    styles = _choose_line_styles(curves.values())
    conditions = [c for panel in drawn.values() for c in panel.conditions.values()]
    spacing = _measure_spacing(grid, list(drawn.values()))
    title = f"{grid.metric_title} by {design.format_title(x)} and {design.format_title(y)}"
    lines = [*make_header_lines(grid), *_explain_empty_cells(drawn.values())]
    header = Header(title, lines, _make_legend(conditions, styles))
    figure, placed = draw_empty_panels(grid, spacing, header)
    scales = {panel.scale: _fit_colours(panel, grid, drawn) for panel in grid.panels}
    for panel, axes, row, column in placed:
        heat, colours = drawn[id(panel)], scales[panel.scale]
        _draw_cells(axes, heat, colours, panel.metric)
        _mark_empty_cells(axes, heat)
        _draw_curves(axes, curves[panel.title], styles)
        before, after = grid.get(row, column - 1), grid.get(row, column + 1)
        shares_values = before is not None and drawn[id(before)].up.values == heat.up.values
        _set_axes(axes, heat, spacing, design, left=not shares_values)
        if after is None or after.scale != panel.scale:
            _draw_colour_bar(figure, axes, colours, panel)
    return figure


def make_heat_panel(panel: Panel, x: str, y: str) -> HeatPanel:
    """The panel's conditions at each pair of values of two factors."""
    across, up = make_cell_axis(panel.frame, x), make_cell_axis(panel.frame, y)
    conditions = {
        (key[0], key[1]): condition
        for key, condition in panel.estimate_conditions([x, y])
        if key[0] in across.values and key[1] in up.values
    }
    return HeatPanel(across, up, conditions)


def _fit_colours(panel: Panel, grid: PanelGrid, drawn: Mapping[int, HeatPanel]) -> ColourScale:
    """The colours of the panels that share this panel's scale."""
    values = [
        condition.centre
        for other in grid.panels
        if other.scale == panel.scale
        for condition in drawn[id(other)].conditions.values()
        if math.isfinite(condition.centre)
    ]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    high = high if high > low else low + (abs(low) or 1.0)
    colours = colormaps[_COLOURS if panel.higher_is_better else f"{_COLOURS}_r"]
    scale = fit_metric_scale(panel.metric, values)
    if scale.smallest:
        return ColourScale(colours, SymLogNorm(scale.smallest, vmin=low, vmax=high))
    return ColourScale(colours, LogNorm(low, high) if scale.log else Normalize(low, high))


def _draw_cells(axes: Axes, heat: HeatPanel, colours: ColourScale, metric: str) -> None:
    numbers = _has_room_for_numbers(axes, heat)
    for (x, y), condition in heat.conditions.items():
        (left, right), (low, high) = heat.across.get_cell(x), heat.up.get_cell(y)
        place, width, height = (left, low), right - left, high - low
        finite = math.isfinite(condition.centre)
        colour = colours.get_colour(condition)
        ink = "black" if _compute_luminance(colour) > 0.5 else "white"
        style: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.4}
        axes.add_patch(Rectangle(place, width, height, **style))
        if condition.diverged:
            style = {"facecolor": "none", "edgecolor": ink, "linewidth": 0}
            hatch = Rectangle(place, width, height, **style)
            hatch.set(hatch=_SOME_DIVERGED if finite else _MOST_DIVERGED, alpha=0.45)
            axes.add_patch(hatch)
        if numbers and (finite or condition.diverged):
            axes.text(
                heat.across.compute_middle(x),
                heat.up.compute_middle(y),
                _format_condition(condition, metric),
                ha="center",
                va="center",
                fontsize=6.5,
                color=ink,
                path_effects=[patheffects.withStroke(linewidth=1.6, foreground=colour)],
            )


def _mark_empty_cells(axes: Axes, heat: HeatPanel) -> None:
    """Write a dot into each cell that the study does not have, and a dash where nothing has run."""
    for x in heat.across.values:
        for y in heat.up.values:
            condition = heat.conditions.get((x, y))
            if condition is None or not (condition.values or condition.diverged):
                axes.text(
                    heat.across.compute_middle(x),
                    heat.up.compute_middle(y),
                    _NOT_IN_STUDY if condition is None else _NOT_RUN,
                    ha="center",
                    va="center",
                    fontsize=10,
                    color=QUIET,
                )


def _has_room_for_numbers(axes: Axes, heat: HeatPanel) -> bool:
    width = axes.get_window_extent().width / axes.figure.dpi
    return (
        heat.across.compute_least_share() * width >= _NUMBER_WIDTH
        and len(heat.across.values) <= _MAX_NUMBERS
        and len(heat.up.values) <= _MAX_NUMBERS
    )


def _format_condition(condition: Condition, metric: str) -> str:
    """The text in a cell: mean or median, or how many replicates diverged."""
    if not math.isfinite(condition.centre):
        return f"{condition.diverged}/{condition.planned}"
    if metric.endswith("accuracy"):
        return f"{condition.centre:.3f}"
    return format_tick(float(f"{condition.centre:.3g}"))


def select_curves(
    overlays: Sequence[Curve] | Mapping[str, Sequence[Curve]], panel: Panel
) -> Sequence[Curve]:
    """The curves that belong over a panel."""
    return overlays.get(panel.title, ()) if isinstance(overlays, Mapping) else overlays


def _choose_line_styles(panels: Iterable[Sequence[Curve]]) -> dict[str, str]:
    """Label → line style: curves with the same label look alike in every panel."""
    labels = dict.fromkeys(label for curves in panels for _, _, label in curves)
    return {label: _LINE_STYLES[number % 3] for number, label in enumerate(labels)}


def _draw_curves(axes: Axes, curves: Sequence[Curve], styles: Mapping[str, str]) -> None:
    style: dict[str, Any] = {"color": "black", "linewidth": 1.5, "zorder": 5}
    edge = [patheffects.withStroke(linewidth=3.4, foreground="white")]
    for x, y, label in curves:
        axes.plot(x, y, linestyle=styles[label], path_effects=edge, **style)


def _set_axes(axes: Axes, heat: HeatPanel, spacing: Spacing, design: Design, *, left: bool) -> None:
    style_axes(axes)
    _set_axis(axes, heat.across, "x", spacing.width)
    _set_axis(axes, heat.up, "y", spacing.height)
    label_axis(axes, "x", _format_axis_title(heat.across, design))
    if left:
        label_axis(axes, "y", _format_axis_title(heat.up, design))
    else:
        axes.tick_params(axis="y", labelleft=False)
    axes.tick_params(length=0)


def _format_axis_title(axis: CellAxis, design: Design) -> str:
    return axis.scale.format_title(design.format_title(axis.name))


def _set_axis(axes: Axes, axis: CellAxis, which: Direction, inches: float) -> None:
    set_limits = getattr(axes, f"set_{which}lim")
    set_limits(axis.edges[0], axis.edges[-1])
    if axis.numeric:
        set_factor_axis(axes, axis.values, which, inches, axis.scale)
        set_limits(axis.edges[0], axis.edges[-1])
    else:
        _set_category_axis(axes, axis, which, inches)


def _set_category_axis(axes: Axes, axis: CellAxis, which: Direction, inches: float) -> None:
    positions = list(range(len(axis.values)))
    names = [format_value(value) for value in axis.values]
    if which == "x":
        rotated = _must_rotate(axis, inches)
        width = 1.1 if rotated else inches / len(positions) * 1.2
        axes.set_xticks(
            positions,
            [fit_text(name, width, 7.5) for name in names],
            rotation=30 if rotated else 0,
            ha="right" if rotated else "center",
        )
        axes.tick_params(axis="x", pad=1)
    else:
        axes.set_yticks(positions, [fit_text(name, 1.3, 7.5) for name in names])
        axes.invert_yaxis()
    for label in getattr(axes, f"get_{which}ticklabels")():
        label.set_parse_math(False)
    getattr(axes, f"{which}axis").set_minor_locator(NullLocator())


def _must_rotate(axis: CellAxis, inches: float) -> bool:
    """Whether the names of categories below a panel would touch each other."""
    width = inches / len(axis.values)
    return any(len(format_value(value)) * _LETTER > width for value in axis.values)


def _draw_colour_bar(figure: Figure, axes: Axes, colours: ColourScale, panel: Panel) -> None:
    box, width = axes.get_position(), figure.get_figwidth()
    place = figure.add_axes((box.x1 + 0.1 / width, box.y0, 0.11 / width, box.height))
    bar = figure.colorbar(ScalarMappable(colours.norm, colours.colours), cax=place)
    bar.outline.set_visible(False)
    if not isinstance(colours.norm, (LogNorm, SymLogNorm)):
        place.yaxis.set_major_locator(MaxNLocator(5))
    place.yaxis.set_major_formatter(FuncFormatter(format_tick))
    place.yaxis.set_minor_locator(NullLocator())
    if not panel.higher_is_better:
        place.invert_yaxis()
    place.tick_params(labelsize=7.5, colors=QUIET, length=2, pad=2)
    title = fit_text(panel.metric_axis, box.height * figure.get_figheight() + 0.3, 8)
    place.set_ylabel(title, fontsize=8, color=QUIET, labelpad=3, parse_math=False)


def _measure_spacing(grid: PanelGrid, panels: Sequence[HeatPanel]) -> Spacing:
    """The spacing that leaves space for categories' names, and for colour bars between panels."""
    spacing = _SPACING.enlarge_for(grid)
    names = [value for panel in panels if not panel.up.numeric for value in panel.up.values]
    longest = max((len(format_value(value)) for value in names), default=0)
    left = max(spacing.left, min(longest, 24) * _LETTER + 0.5)
    rotated = any(
        not panel.across.numeric and _must_rotate(panel.across, spacing.width) for panel in panels
    )
    below = 0.45 if rotated else 0.0
    gap_x = spacing.gap_x if len({panel.scale for panel in grid.panels}) == 1 else 0.95
    if any(panel.up.values != panels[0].up.values for panel in panels):
        gap_x += left - 0.2
    return replace(
        spacing,
        left=left,
        gap_x=gap_x,
        gap_y=spacing.gap_y + below,
        bottom=spacing.bottom + below,
    )


def _explain_empty_cells(panels: Iterable[HeatPanel]) -> list[str]:
    """What the marks of empty cells mean, if there are any."""
    marks: dict[str, None] = {}
    for panel in panels:
        if len(panel.conditions) < len(panel.across.values) * len(panel.up.values):
            marks[f"{_NOT_IN_STUDY} not in this study"] = None
        if any(not (c.values or c.diverged) for c in panel.conditions.values()):
            marks[f"{_NOT_RUN} no result"] = None
    return ["   ".join(marks)] if marks else []


def _make_legend(conditions: Sequence[Condition], styles: Mapping[str, str]) -> list[Artist]:
    legend: list[Artist] = [
        make_legend_line(label, color="black", linewidth=1.5, linestyle=style)
        for label, style in styles.items()
    ]
    has_median = {math.isfinite(condition.centre) for condition in conditions if condition.diverged}
    if True in has_median:
        label = "some replicates diverged (colour: median)"
        legend.append(_make_legend_patch(label, facecolor="#B5AD78", hatch=_SOME_DIVERGED))
    if False in has_median:
        label = "half or more diverged"
        legend.append(_make_legend_patch(label, facecolor=_NO_MEDIAN, hatch=_MOST_DIVERGED))
    return legend


def _make_legend_patch(label: str, **style: Any) -> Rectangle:
    return Rectangle((0, 0), 1, 1, label=label, edgecolor="#555555", linewidth=0, **style)


def _compute_luminance(colour: Any) -> float:
    """Relative luminance of a colour, from 0 to 1."""
    red, green, blue = to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
