"""One panel of training curves: loss on the left axis, the task's metric on the right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fanin.cell.result import Result
from fanin.report.figures.gathered_curves import Column, GatheredCurves, Lines
from fanin.report.figures.palette import LOSS, METRIC, QUIET, WARNING
from fanin.report.figures.plot_axes import draw_grid, set_metric_axis, style_frame
from fanin.report.figures.scales import Extent, Scale, fit_extent

_TRAINING: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "linewidth": 1.0, "alpha": 0.75}
_VALIDATION: dict[str, Any] = {"linestyle": "-", "linewidth": 1.4, "alpha": 1.0}
_REPLICATE: dict[str, Any] = {"linestyle": "-", "linewidth": 0.5, "alpha": 0.4}


@dataclass(frozen=True)
class CurveScales:
    """The axes that the panels of a row share."""

    epochs: int
    loss: Scale
    metric: Scale
    metric_name: str


@dataclass(frozen=True)
class CurvePanel:
    """The results of one condition."""

    results: Sequence[Result]
    planned: int
    """How many results the plan asks for; 0 if the study has no such condition."""

    @property
    def status(self) -> str:
        """What is not as planned, in words; empty if every replicate trained to its end."""
        if not self.planned:
            return "not in this study"
        counts = {
            outcome: sum(result.outcome == outcome for result in self.results)
            for outcome in ("diverged", "failed", "killed")
        }
        counts["not run yet"] = self.planned - len(self.results)
        return "\n".join(
            words if count == self.planned else f"{count} of {self.planned} {words}"
            for words, count in counts.items()
            if count
        )


def fit_curve_scales(conditions: Sequence[GatheredCurves]) -> CurveScales:
    """Axes that hold all finite values of the curves.

    Diverged results do not count, unless there are no others.
    """
    name = next((curves.metric for curves in conditions if curves.metric), "")
    has_finished = any(curves.finished for curves in conditions)
    found = [curves.ok_extents if has_finished else curves.extents for curves in conditions]
    return CurveScales(
        epochs=max((curves.epochs for curves in conditions if curves.trained), default=1),
        loss=fit_extent(_join_extents(found, "loss")),
        metric=fit_extent(_join_extents(found, name), may_be_log=name != "accuracy"),
        metric_name=name,
    )


def draw_curve_panel(
    left: Axes,
    panel: CurvePanel,
    curves: GatheredCurves,
    scales: CurveScales,
    *,
    outer_left: bool,
    outer_right: bool,
    font: float = 7.0,
) -> None:
    """Draw a panel into its axes.

    Args:
        left: the axes of the loss; those of the metric are added to the figure.
        panel: the results.
        curves: their curves.
        scales: the scales of the panel's row.
        outer_left: whether to label the ticks of the loss.
        outer_right: whether to label the ticks of the metric.
        font: size of the tick labels, in points.
    """
    right = left.twinx()
    _style_axis(left, scales.loss, LOSS, font)
    _style_axis(right, scales.metric, METRIC, font)
    left.tick_params(axis="y", left=outer_left, labelleft=outer_left)
    right.tick_params(axis="y", right=outer_right, labelright=outer_right)
    _set_epoch_axis(left, scales.epochs, font)
    for axes, name, colour in ((left, "loss", LOSS), (right, scales.metric_name, METRIC)):
        for prefix, style in (("", _TRAINING), ("val_", _VALIDATION)):
            if lines := curves.lines.get(prefix + name):
                has_mean = not any(result.outcome == "diverged" for result in panel.results)
                _draw_lines(axes, lines, {**style, "color": colour}, has_mean=has_mean)
    _mark_divergences(right, curves)
    if panel.planned == 1 and panel.results:
        _mark_best_epoch(left, panel.results[0], curves)
    if panel.status:
        _write_status(right, panel.status, font, is_empty=not curves.trained)


def _draw_lines(axes: Axes, lines: Lines, style: dict[str, Any], *, has_mean: bool) -> None:
    """Draw a line per replicate; if there are several, their mean over the epochs all have."""
    # One artist for all replicates, a gap after each, is much faster than one for each.
    gap = [math.nan]
    epochs = [part for column in lines.shown for part in (np.arange(1, len(column) + 1), gap)]
    values = [part for column in lines.shown for part in (_replace_infinite(column), gap)]
    one = lines.count == 1
    axes.plot(
        np.concatenate(epochs),
        np.concatenate(values),
        **(style if one else {**style, **_REPLICATE}),
    )
    if not one and len(lines.total) and has_mean:
        axes.plot(np.arange(1, len(lines.total) + 1), lines.total / lines.count, **style)


def _mark_divergences(axes: Axes, curves: GatheredCurves) -> None:
    """Draw a cross where a run diverged."""
    for epoch in curves.diverged_at:
        axes.plot(
            [epoch],
            [0.94],
            marker="X",
            color=WARNING,
            markersize=6,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )


def _mark_best_epoch(axes: Axes, result: Result, curves: GatheredCurves) -> None:
    """Draw a dot at the epoch whose weights a single run kept."""
    losses = curves.lines.get("val_loss", Lines()).shown
    best = int(result.metrics.get("best_epoch", 0))
    if result.outcome == "ok" and losses and 0 < best <= len(losses[0]):
        axes.plot(
            [best],
            [losses[0][best - 1]],
            marker="o",
            markersize=3.2,
            color=LOSS,
            linestyle="none",
            clip_on=False,
        )


def _write_status(axes: Axes, text: str, font: float, *, is_empty: bool) -> None:
    """Write in the middle of an empty panel, or to the right of the curves."""
    axes.text(
        0.5 if is_empty else 0.97,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center" if is_empty else "right",
        va="center",
        fontsize=font,
        color=QUIET if is_empty else WARNING,
        parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
    )


def _style_axis(axes: Axes, scale: Scale, colour: str, font: float) -> None:
    set_metric_axis(axes, scale, "y", max_ticks=5)
    axes.tick_params(axis="y", labelsize=font, colors=colour, length=2, pad=1.5)
    style_frame(axes)


def _set_epoch_axis(axes: Axes, epochs: int, font: float) -> None:
    margin = min(0.03 * epochs, 0.5)  # there is no epoch 0
    axes.set_xlim(1 - margin, max(epochs, 2) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
    axes.tick_params(axis="x", labelsize=font, colors=QUIET, length=2, pad=1.5)
    draw_grid(axes)


def _join_extents(found: Sequence[Mapping[str, Extent]], name: str) -> Extent:
    """The range of a metric, on training and validation data."""
    joined = Extent()
    for extents in found:
        for key in (name, f"val_{name}"):
            joined = joined.join(extents.get(key, Extent()))
    return joined


def _replace_infinite(column: Column) -> Column:
    """The column with nan, which makes a gap in a line, for what is not finite."""
    return np.where(np.isfinite(column), column, math.nan)
