"""Figures of signals: output, gradient, update ratio and dead units of each layer over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from fanin.analysis.analysis import Analysis
from fanin.report.figures import signal_heat
from fanin.report.figures.palette import QUIET, WARNING
from fanin.report.figures.panel_grid import make_legend_line
from fanin.report.figures.plot_axes import draw_grid, hide_minor_ticks, label_axis, style_axes
from fanin.report.figures.rendering import fit_text
from fanin.report.figures.scales import format_tick
from fanin.report.figures.signal_panels import Numbers, SignalPanel, collect_signal_panels

MAX_COLUMNS = 8
"""Conditions of one figure. It says how many it leaves out."""

MAX_NAMED = 9
"""Layers up to which the legend names each; of more, the first, the last and some between."""

_COLOURS = colormaps["viridis"]
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 1.75, 1.25, 0.16, 0.2
_LEFT, _RIGHT, _TOP, _BOTTOM, _LEGEND_LINE = 0.95, 0.2, 0.85, 0.5, 0.18
_HEAT_KEY = 0.3
_DECADES = 12
"""The most decades of an axis: what is smaller is drawn at its lower edge."""


class _Row(NamedTuple):
    """One statistic, for all conditions."""

    statistic: str
    title: str
    is_share: bool


_ROWS = (
    _Row("rms", "output, rms", False),
    _Row("gradient_rms", "gradient, rms", False),
    _Row("update_ratio", "update ratio", False),
    _Row("zero_units", "dead units", True),
    _Row("saturated", "saturated", True),
)


def draw_signal_figures(analysis: Analysis) -> list[Figure]:
    """A figure for each section whose cells measured their signals (`draw_signals`)."""
    panels = collect_signal_panels(analysis)
    return [
        draw_signals([*group], f"Signals through training: {section}")
        for section, group in groupby(panels, key=lambda panel: panel.section)
    ]


def draw_signals(panels: Sequence[SignalPanel], title: str) -> Figure:
    """Lines over time, a colour for each layer: dark at the input, bright at the output.

    A column for each condition, a row for each statistic; a row shares its axis. Of layers with
    weights output, gradient and update ratio are shown, of activations the shares of dead and
    saturated units. Lines are medians over replicates. Below stands the gradient as a heat map of
    layers over time.

    Args:
        panels: conditions that are compared with one another, at least one.
        title: of the figure.
    """
    shown = panels[:MAX_COLUMNS]
    rows = [row for row in _ROWS if any(_has_anything(panel, row) for panel in shown)]
    layers = list(dict.fromkeys(layer for panel in shown for layer in _list_weighted(panel)))
    named = _choose_named(layers)
    width = max(_LEFT + len(shown) * (_WIDTH + _GAP_X) + _RIGHT, 6.4)
    panel_width = (width - _LEFT - _RIGHT) / len(shown) - _GAP_X
    per_line = max(int((width - _LEFT) / 1.45), 1)
    top = _TOP + _LEGEND_LINE * -(-len(named) // per_line)
    has_heat = _has_heat(shown)
    height = top + (len(rows) + has_heat) * (_HEIGHT + _GAP_Y) + _BOTTOM
    height += _HEAT_KEY * has_heat
    figure = Figure(figsize=(width, height))

    def add_axes(i: int, j: int) -> Axes:
        left = _LEFT + j * (panel_width + _GAP_X)
        low = height - top - (i + 1) * _HEIGHT - i * _GAP_Y
        place = (left / width, low / height, panel_width / width, _HEIGHT / height)
        return figure.add_axes(place)

    last = len(rows) - 1 + has_heat
    for i, row in enumerate(rows):
        limits = _find_limits(shown, row)
        for j, panel in enumerate(shown):
            axes = add_axes(i, j)
            _draw_panel(axes, panel, row, layers, limits)
            _label_panel(axes, panel, row, panel_width, is_first=j == 0, is_top=i == 0)
            axes.tick_params(labelbottom=i == last)
            if i == last:
                label_axis(axes, "x", panel.unit if panel.unit == "step" else "epochs completed")
    if has_heat:
        _draw_heat_row(figure, [(panel, add_axes(last, j)) for j, panel in enumerate(shown)])
    _write_header(figure, title, shown, layers, named, per_line)
    if len(shown) < len(panels):
        text = f"Drawn: the first {len(shown)} of {len(panels)} conditions."
        figure.text(_LEFT / width, 0.06 / height, text, fontsize=8, color=WARNING)
    return figure


def _has_anything(panel: SignalPanel, row: _Row) -> bool:
    found = _list_lines(panel, row)
    # nothing is saturated or dead in most networks with neither
    return any(np.nanmax(values) > 0 for _, values in found) if row.is_share else bool(found)


def _has_heat(panels: Sequence[SignalPanel]) -> bool:
    """Whether there is something to draw layers over time of: layers, and several times."""
    return any(
        len(panel.times) > 1 and len(panel.list_layers(signal_heat.STATISTIC)) > 1
        for panel in panels
    )


def _draw_heat_row(figure: Figure, placed: Sequence[tuple[SignalPanel, Axes]]) -> None:
    """The gradient of each layer over time by colour, and the key of the colours below."""
    limits = signal_heat.find_heat_limits([panel for panel, _ in placed], signal_heat.STATISTIC)
    for number, (panel, axes) in enumerate(placed):
        signal_heat.draw_heat_panel(axes, panel, limits, inches=_LEFT - 0.3, is_first=number == 0)
        label_axis(axes, "x", panel.unit if panel.unit == "step" else "epochs completed")
    label_axis(placed[0][1], "y", "layer")
    width, height = figure.get_size_inches()
    place = (_LEFT / width, 0.32 / height, _WIDTH / width, 0.07 / height)
    signal_heat.draw_heat_key(figure.add_axes(place), limits)


def _list_weighted(panel: SignalPanel) -> list[str]:
    return [layer for layer, _ in panel.list_layers("weight_norm")]


def _list_lines(panel: SignalPanel, row: _Row) -> list[tuple[str, Numbers]]:
    found = panel.list_layers(row.statistic)
    weighted = set(_list_weighted(panel))
    return found if row.is_share else [item for item in found if item[0] in weighted]


def _choose_named(layers: Sequence[str]) -> list[str]:
    """The layers in the legend: all, or as many as fit evenly from the first to the last."""
    if len(layers) <= MAX_NAMED:
        return list(layers)
    places = np.linspace(0, len(layers) - 1, 5).round().astype(int)
    return [layers[place] for place in places]


def _get_colour(layer: str, layers: Sequence[str]) -> tuple[float, ...]:
    """By depth; an activation has the colour of its layer."""
    name = layer if layer in layers else layer.rpartition(":")[0]
    place = layers.index(name) if name in layers else 0
    return tuple(_COLOURS(0.92 * place / max(len(layers) - 1, 1)))


def _find_limits(panels: Sequence[SignalPanel], row: _Row) -> tuple[float, float]:
    if row.is_share:
        return -0.04, 1.04
    values = [values for panel in panels for _, values in _list_lines(panel, row)]
    found = np.concatenate(values) if values else np.array([])
    found = found[np.isfinite(found) & (found > 0)]
    if not len(found):
        return 0.1, 10.0
    high = float(found.max())
    low = max(float(found.min()), high * 10.0**-_DECADES)
    return low / 1.5, high * 1.5


def _draw_panel(
    axes: Axes,
    panel: SignalPanel,
    row: _Row,
    layers: Sequence[str],
    limits: tuple[float, float],
) -> None:
    style_axes(axes)
    draw_grid(axes)
    lines = _list_lines(panel, row)
    zero = 0
    for layer, values in lines:
        known = np.isfinite(values)
        if not row.is_share:
            zero += bool(known.any() and not (values[known] > 0).any())
            known &= values > 0
        shown = np.clip(values[known], *limits)
        marker = "o" if known.sum() <= 12 else ""
        style: dict[str, Any] = {"linewidth": 1.3, "markersize": 2.5, "marker": marker}
        axes.plot(panel.times[known], shown, color=_get_colour(layer, layers), **style)
    if not row.is_share:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_major_formatter(FuncFormatter(format_tick))
        hide_minor_ticks(axes.yaxis)
    else:
        axes.yaxis.set_major_locator(FixedLocator([0.0, 0.5, 1.0]))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(*limits)
    last = float(panel.times[-1])
    axes.set_xlim(-0.03 * last, 1.03 * last if last else 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    text = (
        f"{'all' if zero == len(lines) else zero} layers exactly 0"
        if zero
        else ""
        if lines
        else "none"
    )
    style_text: dict[str, Any] = {"fontsize": 7, "color": WARNING if zero else QUIET}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", **style_text)


def _label_panel(
    axes: Axes, panel: SignalPanel, row: _Row, width: float, *, is_first: bool, is_top: bool
) -> None:
    if is_top and panel.title:
        title = fit_text(panel.title, width, 8.5)
        axes.set_title(title, fontsize=8, loc="left", pad=4, fontweight="bold", parse_math=False)
    if is_first:
        label_axis(axes, "y", row.title)
    else:
        axes.tick_params(labelleft=False)


def _write_header(
    figure: Figure,
    title: str,
    panels: Sequence[SignalPanel],
    layers: Sequence[str],
    named: Sequence[str],
    per_line: int,
) -> None:
    width, height = figure.get_size_inches()
    left = 0.14 / width
    text = fit_text(title, width - 0.3, 11.5)
    style: dict[str, Any] = {"fontweight": "bold", "va": "top", "parse_math": False}
    figure.text(left, 1 - 0.12 / height, text, fontsize=11, **style)
    most = max(panel.replicates for panel in panels)
    line = "layers from the first (dark) to the last (bright)"
    if most > 1:
        line += f"; medians over up to {most} replicates"
    note: dict[str, Any] = {"fontsize": 8, "color": QUIET, "va": "top"}
    figure.text(left, 1 - 0.36 / height, line, **note)
    handles = [
        make_legend_line(fit_text(layer, 1.0, 7.5), color=_get_colour(layer, layers), linewidth=1.8)
        for layer in named
    ]
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left, 1 - 0.54 / height),
        bbox_transform=figure.transFigure,
        ncols=per_line,
        frameon=False,
        fontsize=7.5,
        handlelength=1.4,
        columnspacing=1.2,
        borderaxespad=0,
        borderpad=0,
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)
