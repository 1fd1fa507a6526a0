"""Gathered curves: what a figure needs of many histories, taken from one history after the other.

Histories may stay in the store until they are looked at (`fanin.store.stored_histories`). Here each
is looked at once, and only those that are drawn as lines are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fanin.cell.result import Result
from fanin.cell.signal_columns import is_signal_column
from fanin.report.figures.scales import Extent
from fanin.store.stored_histories import iterate_histories

MAX_REPLICATES = 100
"""The most lines of one kind in a panel; their mean is that of all replicates."""

_TOGETHER = 64
"""Histories that are measured together."""

_NOT_METRICS = {"loss", "val_loss"}

Column = NDArray[np.float64]


@dataclass
class Lines:
    """One column of the histories of a condition."""

    shown: list[Column] = field(default_factory=list)
    """The first `MAX_REPLICATES`."""
    count: int = 0
    """How many there are."""
    total: Column = field(default_factory=lambda: np.zeros(0))
    """Their sum, over the epochs that all of them have."""

    def add(self, column: Column) -> None:
        """Add a replicate's values by epoch."""
        if self.count < MAX_REPLICATES:
            self.shown.append(column)
        if self.count == 0:
            self.total = column.copy()
        else:
            common = min(len(self.total), len(column))
            self.total = self.total[:common] + column[:common]
        self.count += 1


@dataclass
class GatheredCurves:
    """The curves of one condition, and the ranges of their values."""

    lines: dict[str, Lines] = field(default_factory=dict)
    """By name in the history, such as ``val_loss``."""
    extents: dict[str, Extent] = field(default_factory=dict)
    """The same name → the range of its finite values."""
    ok_extents: dict[str, Extent] = field(default_factory=dict)
    """Those of the replicates that trained to their end."""
    epochs: int = 0
    """The most that a replicate trained."""
    metric: str = ""
    """The task's metric; empty if there is none."""
    diverged_at: list[int] = field(default_factory=list)
    """The epochs in which the first `MAX_REPLICATES` diverged, if they did."""
    trained: int = 0
    """Replicates that have a history."""
    finished: int = 0
    """Those of them that trained to their end."""
    _waiting: dict[tuple[str, bool], list[Column]] = field(default_factory=dict)
    """(name, whether the run finished) → columns that are not measured yet."""

    def add(
        self, result: Result, history: Mapping[str, list[float]], *, may_be_marked: bool
    ) -> None:
        """Add a result that has this history."""
        columns = {
            name: np.array(column, np.float64)
            for name, column in history.items()
            if name != "seconds" and not is_signal_column(name)
        }
        metrics = [name for name in columns if name not in _NOT_METRICS]
        # a user's own training may measure on validation data alone
        metrics.sort(key=lambda name: name.startswith("val_"))
        self.metric = self.metric or next(iter(metrics), "").removeprefix("val_")
        is_ok = result.outcome == "ok"
        for name, column in columns.items():
            if not len(column):
                continue
            self.lines.setdefault(name, Lines()).add(column)
            self._waiting.setdefault((name, is_ok), []).append(column)
        epochs = max(map(len, columns.values()), default=0)
        self.epochs = max(self.epochs, epochs)
        self.trained += 1
        if self.trained % _TOGETHER == 0:
            self.close()
        self.finished += is_ok
        if may_be_marked and result.outcome == "diverged":
            self.diverged_at.append(epochs)

    def close(self) -> None:
        """Measure what was added last: many columns together take as long as one."""
        for (name, is_ok), columns in self._waiting.items():
            extent = Extent.measure(np.concatenate(columns))
            for extents in (self.extents, self.ok_extents) if is_ok else (self.extents,):
                extents[name] = extents.get(name, Extent()).join(extent)
        self._waiting.clear()


def gather_curves(results: Iterable[Result]) -> GatheredCurves:
    """The curves of the results of one condition."""
    curves = GatheredCurves()
    trained = [(number, result) for number, result in enumerate(results) if result.history]
    histories = iterate_histories(result.history for _, result in trained)
    with np.errstate(invalid="ignore", over="ignore"):  # sums of runs that diverged
        for (number, result), history in zip(trained, histories, strict=True):
            curves.add(result, history, may_be_marked=number < MAX_REPLICATES)
    curves.close()
    return curves
