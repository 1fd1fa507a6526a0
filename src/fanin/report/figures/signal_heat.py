"""A heat map of layers over time: a row for each layer, its colour a statistic on a log scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from fanin.report.figures.plot_axes import hide_minor_ticks, label_axis, style_axes
from fanin.report.figures.rendering import fit_text
from fanin.report.figures.scales import format_tick
from fanin.report.figures.signal_panels import SignalPanel

STATISTIC = "gradient_rms"
"""What the printed heat map shows: where a gradient vanishes or explodes."""

COLOURS = "cividis"

_DECADES = 12
"""The most decades of the colours: what is smaller has the darkest."""

_MAX_LABELS = 8


def list_heat_layers(panel: SignalPanel) -> list[str]:
    """The layers that have a matrix, in the order of their computation."""
    return [layer for layer, _ in panel.list_layers("weight_norm")]


def find_heat_limits(panels: Sequence[SignalPanel], statistic: str) -> tuple[float, float]:
    """The least and the largest positive value of a statistic in some panels, at most 12 decades
    apart; (0.1, 10) if there is none.
    """
    found = [panel.values[statistic].ravel() for panel in panels if statistic in panel.values]
    values = np.concatenate(found) if found else np.zeros(0)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.1, 10.0
    high = float(values.max())
    low = max(float(values.min()), high * 10.0**-_DECADES)
    return (low, high) if low < high else (low / 2, high * 2)


def draw_heat_panel(
    axes: Axes, panel: SignalPanel, limits: tuple[float, float], *, inches: float, is_first: bool
) -> None:
    """Draw `STATISTIC` of a panel's layers, the first layer on top.

    Args:
        axes: what to draw on.
        panel: the condition.
        limits: the values of the darkest and of the brightest colour.
        inches: the room for names of layers, left of the axes.
        is_first: whether to write the names.
    """
    layers = list_heat_layers(panel)
    rows = [panel.layers.index(layer) for layer in layers]
    values = panel.values[STATISTIC][rows]
    shown = np.where(np.isfinite(values), np.clip(values, *limits), np.nan)
    edges = np.arange(len(panel.times) + 1) - 0.5
    axes.pcolormesh(
        edges,
        np.arange(len(layers) + 1) - 0.5,
        shown,
        norm=LogNorm(*limits),
        cmap=COLOURS,
        rasterized=True,
    )
    style_axes(axes)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(float(edges[0]), float(edges[-1]))
    step = -(-len(layers) // _MAX_LABELS)
    places = list(range(0, len(layers), step))
    axes.set_yticks(places, [fit_text(layers[i], inches, 6.5) for i in places], fontsize=6.5)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.tick_params(axis="y", length=0, labelleft=is_first)
    times = [
        int(place)
        for place in MaxNLocator(4, integer=True).tick_values(0, len(panel.times) - 1)
        if 0 <= place < len(panel.times)
    ]
    axes.set_xticks(times, [f"{panel.times[i]:,.0f}" for i in times])


def draw_heat_key(axes: Axes, limits: tuple[float, float]) -> None:
    """Draw what the colours mean on a small axis."""
    edges = np.geomspace(*limits, 65)
    axes.pcolormesh(edges, [0.0, 1.0], edges[None, 1:], norm=LogNorm(*limits), cmap=COLOURS)
    style_axes(axes)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_major_formatter(FuncFormatter(format_tick))
    hide_minor_ticks(axes.xaxis)
    label_axis(axes, "x", "gradient, rms")
