"""One panel of training curves: loss on the left axis, the task's metric on the right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

if TYPE_CHECKING:
    from fanin.cell.result import Result

# Okabe and Ito's palette, told apart by colour-blind readers.
LOSS, METRIC, WARNING = "#D55E00", "#0072B2", "#7A3E5D"
QUIET = "#767676"
_GRID = "#E4E4E4"

_LOG_FROM = 30.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

_NOT_METRICS = {"loss", "val_loss", "seconds"}


@dataclass(frozen=True)
class Scale:
    """The range of one axis, shared by the panels that are compared."""

    low: float
    high: float
    log: bool

    def titled(self, name: str) -> str:
        """The axis' title: a logarithmic one says so."""
        return f"{name} (log)" if self.log else name


@dataclass(frozen=True)
class Scales:
    """The axes that a row of panels shares."""

    epochs: int
    loss: Scale
    metric: Scale
    metric_name: str


@dataclass(frozen=True)
class Panel:
    """The results of one group, of which `planned` were asked for; None of them where the study has
    no such group.
    """

    results: Sequence[Result]
    planned: int

    @property
    def status(self) -> str:
        """What is not as planned, in words; empty where every replicate trained to its end."""
        if not self.planned:
            return "not in this study"
        counts = {
            word: sum(r.outcome == word for r in self.results)
            for word in ("diverged", "failed", "killed")
        }
        counts["not run yet"] = self.planned - len(self.results)
        found = [(word, count) for word, count in counts.items() if count]
        return "\n".join(
            word if count == self.planned else f"{count} of {self.planned} {word}"
            for word, count in found
        )


def scales(results: Iterable[Result]) -> Scales:
    """Axes that hold all finite values of the results; diverged ones set them only where there are
    no others.
    """
    drawn = [result for result in results if result.history]
    sound = [result for result in drawn if result.outcome == "ok"] or drawn
    name = next((name for name in map(metric_name, drawn) if name), "")
    return Scales(
        epochs=max((len(result.history["loss"]) for result in drawn), default=1),
        loss=scale_of(_values(sound, "loss")),
        metric=scale_of(
            _values(sound, name), may_be_log=name != "accuracy"
        ),  # a share is read on a linear axis
        metric_name=name,
    )


def metric_name(result: Result) -> str:
    """The task's metric among a history's columns; empty where it has none."""
    names = (
        name for name in result.history if name not in _NOT_METRICS and not name.startswith("val_")
    )
    return next(names, "")


def draw(
    left: Axes,
    panel: Panel,
    shared: Scales,
    *,
    outer_left: bool,
    outer_right: bool,
    font: float = 7.0,
) -> None:
    """Draw a panel into its axes; tick labels stand on the outer sides of a row only."""
    right = left.twinx()
    _prepare(left, shared.loss, LOSS, font)
    _prepare(right, shared.metric, METRIC, font)
    left.tick_params(axis="y", left=outer_left, labelleft=outer_left)
    right.tick_params(axis="y", right=outer_right, labelright=outer_right)
    _prepare_epochs(left, shared.epochs, font)
    for axes, name, colour in ((left, "loss", LOSS), (right, shared.metric_name, METRIC)):
        for prefix, style in (("", _TRAINING), ("val_", _VALIDATION)):
            _draw_curves(axes, panel.results, prefix + name, {**style, "color": colour})
    for result in panel.results:
        _mark(left, right, result, single=panel.planned == 1)
    if panel.status:
        _say(right, panel.status, font, alone=not any(result.history for result in panel.results))


_TRAINING: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "linewidth": 1.0, "alpha": 0.75}
_VALIDATION: dict[str, Any] = {"linestyle": "-", "linewidth": 1.4, "alpha": 1.0}


def _draw_curves(axes: Axes, results: Sequence[Result], name: str, style: dict[str, Any]) -> None:
    """A line per replicate, thin where there are several, and then their mean as far as all of them
    ran.
    """
    columns = [column for result in results if (column := result.history.get(name))]
    thin = {**style, "linewidth": 0.5, "alpha": 0.4, "linestyle": "-"}
    # One artist for all replicates, a gap after each, is much faster than one for each.
    epochs = [epoch for column in columns for epoch in (*range(1, len(column) + 1), math.nan)]
    values = [value for column in columns for value in (*_finite(column), math.nan)]
    axes.plot(epochs, values, **(style if len(columns) == 1 else thin))
    common = min(map(len, columns), default=0)
    if len(columns) > 1 and common and all(result.outcome != "diverged" for result in results):
        mean = [
            sum(values) / len(values)
            for values in zip(*(column[:common] for column in columns), strict=True)
        ]
        axes.plot(range(1, common + 1), mean, **style)


def _mark(left: Axes, right: Axes, result: Result, *, single: bool) -> None:
    """A cross where a run diverged; a dot at the epoch whose weights were kept, where one run
    stands alone.
    """
    history = result.history.get("val_loss", [])
    if result.outcome == "diverged" and result.history:
        last = len(result.history["loss"])
        right.plot(
            [last],
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


def _say(axes: Axes, text: str, font: float, *, alone: bool) -> None:
    where = (0.5, 0.5, "center", "center") if alone else (0.97, 0.5, "right", "center")
    x, y, across, along = where
    axes.text(
        x, y, text, transform=axes.transAxes, ha=across, va=along, fontsize=font, color=QUIET if alone else WARNING,
        parse_math=False, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
    )  # fmt: skip


def _prepare(axes: Axes, scale: Scale, colour: str, font: float) -> None:
    if scale.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1.0, 3.0) if scale.high / scale.low < 1e3 else (1.0,), numticks=5)
        )
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(tick_text))
    axes.set_ylim(scale.low, scale.high)
    axes.tick_params(axis="y", labelsize=font, colors=colour, length=2, pad=1.5)
    for side in axes.spines.values():
        side.set_color("#BBBBBB")
        side.set_linewidth(0.6)


def _prepare_epochs(axes: Axes, epochs: int, font: float) -> None:
    margin = min(0.03 * epochs, 0.5)  # there is no epoch 0
    axes.set_xlim(1 - margin, max(epochs, 2) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
    axes.tick_params(axis="x", labelsize=font, colors=QUIET, length=2, pad=1.5)
    axes.grid(True, axis="both", color=_GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def scale_of(values: list[float], *, may_be_log: bool = True) -> Scale:
    """An axis that holds the values, logarithmic where they span more than a factor of 30."""
    if not values:
        return Scale(0.0, 1.0, log=False)
    low, high = min(values), max(values)
    if may_be_log and low > 0 and high / low > _LOG_FROM:
        margin = (high / low) ** 0.05
        return Scale(low / margin, high * margin, log=True)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low - margin, high + margin, log=False)


def _values(results: Iterable[Result], name: str) -> list[float]:
    columns = (result.history.get(key, []) for result in results for key in (name, f"val_{name}"))
    return [value for column in columns for value in column if math.isfinite(value)]


def _finite(column: Sequence[float]) -> list[float]:
    return [value if math.isfinite(value) else math.nan for value in column]


def tick_text(value: float, position: object = None) -> str:
    """``0.5``, ``1,500``, ``50k``, ``5e9``: short, and the same in every locale."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return (
        f"{value / 1000:g}k" if size >= 1e4 else f"{value:,.4g}" if size >= 1000 else f"{value:.4g}"
    )
