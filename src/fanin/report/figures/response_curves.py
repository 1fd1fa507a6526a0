"""Response curves: a metric against a numeric factor, a line for each value of what is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import Condition
from fanin.analysis.design import Design, is_numeric
from fanin.analysis.factors import is_number
from fanin.report.figures.palette import LINE_COLOURS, LINE_MARKERS, QUIET, WARNING
from fanin.report.figures.panel_grid import (
    Header,
    Panel,
    PanelGrid,
    PlacedPanel,
    Spacing,
    arrange_panels,
    draw_empty_panels,
    make_header_lines,
    make_legend_line,
)
from fanin.report.figures.plot_axes import (
    draw_grid,
    label_axis,
    set_factor_axis,
    set_metric_axis,
    style_axes,
)
from fanin.report.figures.rendering import fit_text
from fanin.report.figures.scales import (
    FactorScale,
    Scale,
    fit_metric_scale,
)

MAX_LINES = 10

_SHIFT = 0.008
"""Distance of two lines' points, as a share of the axis, so that they do not hide each other."""

_STRIP_LINE = 0.1
"""Height of a line's row in the strip of diverged replicates, in inches."""

_SPACING = Spacing(width=2.9, height=2.0, gap_x=0.32)

Line = list[tuple[float, Condition]]
"""The factor's values in ascending order, and the condition at each."""


@dataclass(frozen=True)
class LineStyle:
    """How one line looks."""

    colour: str
    marker: str


@dataclass(frozen=True)
class FactorRange:
    """The values of the factor on the horizontal axis, ascending."""

    values: Sequence[float]
    scale: FactorScale

    def compute_limits(self) -> tuple[float, float]:
        """The ends of the axis, a little beyond the values."""
        low, high = self._ends
        margin = 0.05 * (high - low) or (0.3 if self.scale.log else 0.5)
        return self.scale.to_value(low - margin), self.scale.to_value(high + margin)

    def shift(self, x: float, number: int, lines: int) -> float:
        """Where to draw the point at x of the line with this number, beside those of the others."""
        share = _SHIFT * (number - (lines - 1) / 2)
        low, high = self._ends
        return self.scale.to_value(self.scale.to_position(x) + share * (high - low))

    @property
    def _ends(self) -> tuple[float, float]:
        """The positions of the least and the largest value."""
        return self.scale.to_position(self.values[0]), self.scale.to_position(self.values[-1])


def draw_response_curves(
    analysis: Analysis,
    factor: str,
    *,
    lines: str | None = None,
    metric: str | None = None,
) -> Figure:
    """Draw a metric against a numeric factor; panels for the values of whatever else varies.

    A point is the mean over the replicates, its bar the 95 % interval (Student's t, from 5
    replicates on). If a replicate diverged there is no mean: an open point at the end of a dotted
    line is the median with the diverged counted as worst, and crosses below the panel show the
    share that diverged.

    Args:
        analysis: what to draw.
        factor: the numeric factor on the horizontal axis. The axis is logarithmic if the values
            span a factor of 30 or are spaced geometrically.
        lines: the factor whose values are the lines; by default what the design compares.
        metric: a column of metrics; by default each panel's main test metric.
    """
    design = analysis.design
    frame = analysis.frame[analysis.frame[factor].map(is_number)]
    line_factor = lines or design.compared
    compared = line_factor if line_factor != factor else None
    grid = arrange_panels(frame, design, [factor, *([compared] if compared else [])], metric)
    names = list(dict.fromkeys(frame[compared])) if compared else [""]
    styles = _choose_styles(frame, compared, names[:MAX_LINES])
    drawn = {id(panel): _make_lines(panel, factor, compared, styles) for panel in grid.panels}
    diverged = any(
        condition.diverged
        for panel in drawn.values()
        for line in panel.values()
        for _, condition in line
    )
    strip = 0.12 + _STRIP_LINE * len(styles) if diverged else 0.0
    spacing = _SPACING.enlarge_for(grid)
    spacing = replace(spacing, gap_y=spacing.gap_y + strip + 0.12, bottom=spacing.bottom + strip)
    header = Header(
        f"{grid.metric_title} by {design.format_title(factor)}",
        make_header_lines(grid, design.format_title(line_factor), len(names), MAX_LINES),
        _make_legend(styles, line_factor, design, diverged=diverged),
    )
    figure, placed = draw_empty_panels(grid, spacing, header)
    values = sorted({float(value) for value in frame[factor]})
    across = FactorRange(values, FactorScale.choose(values))
    scales = _fit_scales(grid, drawn)
    for place in placed:
        panel, axes, _, column = place
        _draw_lines(axes, drawn[id(panel)], styles, across)
        _set_axes(axes, scales[panel.scale], across, spacing)
        _label_metric(place, grid, spacing)
        lowest = axes
        if diverged:
            lowest = _draw_diverged(figure, axes, drawn[id(panel)], styles, strip, across)
            if not column:
                _label_diverged(lowest)
        label_axis(lowest, "x", across.scale.format_title(design.format_title(factor)))
    return figure


def _choose_styles(
    frame: pd.DataFrame, compared: str | None, names: Sequence[Any]
) -> dict[Any, LineStyle]:
    """A style for each line: numbers get colours from dark to light, to show their order."""
    if compared and len(names) > 2 and is_numeric(frame, compared):
        names = sorted(names, key=lambda name: (not is_number(name), name))
        shades = [colormaps["viridis"](0.85 * i / (len(names) - 1)) for i in range(len(names))]
        colours: Sequence[str] = [to_hex(shade) for shade in shades]
    else:
        colours = LINE_COLOURS
    return {name: LineStyle(colours[i], LINE_MARKERS[i]) for i, name in enumerate(names)}


def _make_lines(
    panel: Panel, factor: str, compared: str | None, styles: Mapping[Any, LineStyle]
) -> dict[Any, Line]:
    lines: dict[Any, Line] = {}
    for key, condition in panel.estimate_conditions([*([compared] if compared else []), factor]):
        name = key[0] if compared else ""
        if name in styles:
            lines.setdefault(name, []).append((float(key[-1]), condition))
    return {name: sorted(line, key=lambda point: point[0]) for name, line in lines.items()}


def _draw_lines(
    axes: Axes, lines: Mapping[Any, Line], styles: Mapping[Any, LineStyle], across: FactorRange
) -> None:
    for number, (name, style) in enumerate(styles.items()):
        line = lines.get(name, [])
        x = [across.shift(value, number, len(styles)) for value, _ in line]
        centres = [condition.centre for _, condition in line]
        means = [condition.centre if condition.is_mean else math.nan for _, condition in line]
        half = [condition.half_width for _, condition in line]
        colour = style.colour
        axes.plot(x, centres, color=colour, linewidth=1.0, linestyle=":")
        axes.errorbar(x, means, yerr=half, color=colour, linewidth=1.3, elinewidth=1.0, zorder=3)
        for position, (_, condition) in zip(x, line, strict=True):
            axes.plot(
                [position],
                [condition.centre],
                marker=style.marker,
                markersize=4.2,
                linestyle="none",
                zorder=4,
                markerfacecolor=colour if condition.is_mean else "white",
                markeredgecolor=colour,
                markeredgewidth=1.0,
                clip_on=False,
            )


def _draw_diverged(
    figure: Figure,
    axes: Axes,
    lines: Mapping[Any, Line],
    styles: Mapping[Any, LineStyle],
    inches: float,
    across: FactorRange,
) -> Axes:
    """Draw a strip below a panel: a row for each line, a cross for each condition that diverged.

    The size of a cross is the share of replicates that diverged.
    """
    box, height = axes.get_position(), figure.get_figheight()
    strip = figure.add_axes(
        (box.x0, box.y0 - (inches + 0.02) / height, box.width, (inches - 0.06) / height)
    )
    style_axes(strip)
    for number, (name, style) in enumerate(styles.items()):
        for value, condition in lines.get(name, []):
            if condition.diverged:
                strip.plot(
                    [across.shift(value, number, len(styles))],
                    [number],
                    marker="X",
                    markersize=2.5 + 3.5 * condition.diverged_share,
                    color=style.colour,
                    markeredgewidth=0,
                    clip_on=False,
                )
    set_factor_axis(strip, across.values, "x", box.width * figure.get_figwidth(), across.scale)
    strip.set_xlim(axes.get_xlim())
    strip.set_ylim(len(styles) - 0.4, -0.6)
    strip.set_yticks([])
    strip.set_facecolor("#F7F7F7")
    axes.tick_params(axis="x", labelbottom=False)
    return strip


def _label_diverged(strip: Axes) -> None:
    style: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center", "labelpad": 4}
    strip.set_ylabel("diverged", fontsize=6.5, color=QUIET, **style)


def _set_axes(axes: Axes, scale: Scale, across: FactorRange, spacing: Spacing) -> None:
    style_axes(axes)
    draw_grid(axes)
    set_factor_axis(axes, across.values, "x", spacing.width, across.scale)
    axes.set_xlim(*across.compute_limits())
    set_metric_axis(axes, scale, "y")


def _label_metric(place: PlacedPanel, grid: PanelGrid, spacing: Spacing) -> None:
    """Label the metric's axis, unless the panel to the left has the same scale."""
    panel, axes, row, column = place
    before = grid.get(row, column - 1)
    if before is not None and before.scale == panel.scale:
        axes.tick_params(axis="y", labelleft=False)
    elif len(grid.metrics) > 1 or not column:
        label_axis(axes, "y", fit_text(panel.metric_axis, spacing.height + 0.3, 8))


def _fit_scales(
    grid: PanelGrid, drawn: Mapping[int, Mapping[Any, Line]]
) -> dict[tuple[Any, ...], Scale]:
    """The scale of each group of panels that share one."""
    ends: dict[tuple[Any, ...], list[float]] = {}
    for panel in grid.panels:
        for line in drawn[id(panel)].values():
            for _, condition in line:
                finite = [value for value in condition.interval if math.isfinite(value)]
                ends.setdefault(panel.scale, []).extend(finite)
    return {
        panel.scale: fit_metric_scale(panel.metric, ends.get(panel.scale, []))
        for panel in grid.panels
    }


def _make_legend(
    styles: Mapping[Any, LineStyle], line_factor: str, design: Design, *, diverged: bool
) -> list[Line2D]:
    legend = [
        make_legend_line(
            design.name_value(line_factor, name),
            color=style.colour,
            marker=style.marker,
            markersize=4.5,
            linewidth=1.3,
        )
        for name, style in styles.items()
        if list(styles) != [""]
    ]
    if diverged:
        dot: dict[str, Any] = {
            "marker": "o",
            "markersize": 4.5,
            "markerfacecolor": "white",
            "linestyle": "none",
        }
        legend.append(make_legend_line("median, some diverged", color=QUIET, **dot))
        cross: dict[str, Any] = {"marker": "X", "markersize": 5.5, "linestyle": "none"}
        legend.append(make_legend_line("diverged (size: share)", color=WARNING, **cross))
    return legend
