"""One panel of training curves: loss on the left axis, the task's metric on the right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fanin.cell.result import Result
from fanin.report.figures.palette import LOSS, METRIC, QUIET, WARNING
from fanin.report.figures.plot_axes import draw_grid, set_metric_axis, style_frame
from fanin.report.figures.scales import Scale, fit_scale

MAX_REPLICATES = 100
"""The most lines of one kind in a panel; their mean is that of all replicates."""

_NOT_METRICS = {"loss", "val_loss", "seconds"}

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


def fit_curve_scales(results: Iterable[Result]) -> CurveScales:
    """Axes that hold all finite values of the results.

    Diverged results do not count, unless there are no others.
    """
    trained = [result for result in results if result.history]
    finished = [result for result in trained if result.outcome == "ok"] or trained
    name = next((name for name in map(find_metric, trained) if name), "")
    return CurveScales(
        epochs=max((len(result.history["loss"]) for result in trained), default=1),
        loss=fit_scale(_collect_values(finished, "loss")),
        metric=fit_scale(_collect_values(finished, name), may_be_log=name != "accuracy"),
        metric_name=name,
    )


def find_metric(result: Result) -> str:
    """The task's metric among a history's columns; empty if there is none."""
    names = (
        name for name in result.history if name not in _NOT_METRICS and not name.startswith("val_")
    )
    return next(names, "")


def draw_curve_panel(
    left: Axes,
    panel: CurvePanel,
    scales: CurveScales,
    *,
    outer_left: bool,
    outer_right: bool,
    font: float = 7.0,
) -> None:
    """Draw a panel into its axes.

    Args:
        left: the axes of the loss; those of the metric are added to the figure.
        panel: what to draw.
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
            _draw_curves(axes, panel.results, prefix + name, {**style, "color": colour})
    for result in panel.results[:MAX_REPLICATES]:
        _mark_epochs(left, right, result, single=panel.planned == 1)
    if panel.status:
        is_empty = not any(result.history for result in panel.results)
        _write_status(right, panel.status, font, is_empty=is_empty)


def _draw_curves(axes: Axes, results: Sequence[Result], name: str, style: dict[str, Any]) -> None:
    """Draw a line per replicate; if there are several, their mean over the epochs all have."""
    columns = [column for result in results if (column := result.history.get(name))]
    # One artist for all replicates, a gap after each, is much faster than one for each.
    shown = columns[:MAX_REPLICATES]
    epochs = [epoch for column in shown for epoch in (*range(1, len(column) + 1), math.nan)]
    values = [value for column in shown for value in (*_replace_infinite(column), math.nan)]
    axes.plot(epochs, values, **(style if len(columns) == 1 else {**style, **_REPLICATE}))
    common = min(map(len, columns), default=0)
    if len(columns) > 1 and common and all(result.outcome != "diverged" for result in results):
        shortened = (column[:common] for column in columns)
        mean = [sum(values) / len(values) for values in zip(*shortened, strict=True)]
        axes.plot(range(1, common + 1), mean, **style)


def _mark_epochs(left: Axes, right: Axes, result: Result, *, single: bool) -> None:
    """Draw a cross where a run diverged, and a dot at the epoch whose weights a single run kept."""
    history = result.history.get("val_loss", [])
    if result.outcome == "diverged" and result.history:
        right.plot(
            [len(result.history["loss"])],
            [0.94],
            marker="X",
            color=WARNING,
            markersize=6,
            transform=right.get_xaxis_transform(),
            clip_on=False,
        )
    best = int(result.metrics.get("best_epoch", 0))
    if single and result.outcome == "ok" and 0 < best <= len(history):
        left.plot(
            [best],
            [history[best - 1]],
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


def _collect_values(results: Iterable[Result], name: str) -> list[float]:
    """All finite values of a metric, on training and validation data."""
    columns = (result.history.get(key, []) for result in results for key in (name, f"val_{name}"))
    return [value for column in columns for value in column if math.isfinite(value)]


def _replace_infinite(column: Sequence[float]) -> list[float]:
    """The column with nan, which makes a gap in a line, for what is not finite."""
    return [value if math.isfinite(value) else math.nan for value in column]
