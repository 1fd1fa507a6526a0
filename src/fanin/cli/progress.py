"""Live progress on standard error: bars on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.cli.remaining_time import RemainingTime, format_duration
from fanin.execution.events import (
    CellFinished,
    CellStarted,
    EpochFinished,
    Event,
    Notice,
    RunStarted,
    WorkerLost,
)
from fanin.report.escaping import visible

LINE_EVERY = 2.0
"""Seconds at least between two lines about finished cells, off a terminal."""


@contextmanager
def show_training(
    cells: Iterable[Cell], labels: Mapping[str, str], stream: TextIO | None = None
) -> Iterator[Callable[[Event], None]]:
    """A function that shows the events it is given on a stream, standard error by default.

    Args:
        cells: what the run trains.
        labels: cell id → what tables call the cell's initializer.
        stream: a terminal gets bars, which vanish at the end.
    """
    out = sys.stderr if stream is None else stream
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    remaining = RemainingTime(tuple(cells))
    if not console.is_terminal:
        yield Lines(remaining, labels, out).handle
        return
    bars = Bars(remaining, labels, console)
    with bars.progress:
        yield bars.handle


class _Display:
    """What both displays keep count of."""

    def __init__(self, remaining: RemainingTime, labels: Mapping[str, str]) -> None:
        self.remaining = remaining
        self._labels = labels
        self.done = self.to_train = 0
        self.outcomes: Counter[str] = Counter()

    def count(self, event: Event, now: float) -> None:
        """Take an event into account."""
        match event:
            case RunStarted():
                self.to_train, self.remaining.workers = event.to_train, max(event.workers, 1)
            case CellStarted():
                self.remaining.begin(event.cell, now)
            case CellFinished():
                self.remaining.end(event.result.cell, now)
                self.done += 1
                self.outcomes[event.result.outcome] += 1
            case WorkerLost() if event.cell is not None and event.retried:
                self.remaining.put_back(event.cell)

    def summarize(self, now: float) -> str:
        """12/60 cells, 1 failed, about 3 min to go."""
        bad = [f"{count} {name}" for name, count in self.outcomes.items() if name != "ok"]
        seconds = self.remaining.estimate_seconds(now)
        to_go = (
            [f"about {format_duration(max(seconds, 1))} to go"]
            if seconds is not None and self.done < self.to_train
            else []
        )
        return ", ".join([f"{self.done}/{self.to_train} cells", *bad, *to_go])

    def describe_cell(self, cell: Cell) -> str:
        """model · data · initializer, as tables call it."""
        replicate = f" #{cell.replicate}" if cell.replicate else ""
        return visible(
            f"{cell.model} · {cell.data} · {self._labels.get(cell.id, cell.initializer)}{replicate}"
        )


class Lines(_Display):
    """Plain lines, for logs: finished cells at most every `LINE_EVERY` seconds, whatever went wrong
    at once.
    """

    def __init__(self, remaining: RemainingTime, labels: Mapping[str, str], stream: TextIO) -> None:
        super().__init__(remaining, labels)
        self._stream = stream
        self._last = -math.inf

    def handle(self, event: Event) -> None:
        """Show an event, or keep it for a later line."""
        now = time.monotonic()
        self.count(event, now)
        match event:
            case RunStarted() if event.to_train:
                self._print(_format_opening(event))
            case CellFinished(result=result):
                wrong = result.outcome in ("failed", "killed")
                if wrong or self.done == self.to_train or now - self._last >= LINE_EVERY:
                    self._last = now
                    self._print(
                        f"{self.summarize(now)}: {self.describe_cell(result.cell)}: {_format_outcome(result)}"
                    )
            case WorkerLost():
                self._print(_format_loss(event, self))
            case Notice(text=text):
                self._print(visible(text))

    def _print(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        print(
            text.encode(encoding, "backslashreplace").decode(encoding),
            file=self._stream,
            flush=True,
        )


class Bars(_Display):
    """A bar for all cells and one for each that is running; notices scroll past above them."""

    def __init__(
        self, remaining: RemainingTime, labels: Mapping[str, str], console: Console
    ) -> None:
        super().__init__(remaining, labels)
        self.progress = Progress(
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=5),
            ),
            BarColumn(bar_width=None, table_column=Column(ratio=2)),
            TextColumn(
                "{task.fields[detail]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=5),
            ),
            console=console,
            expand=True,
            transient=True,
        )
        self._overall = self.progress.add_task("Starting workers", total=None, detail="")
        self._running: dict[str, TaskID] = {}

    def handle(self, event: Event) -> None:
        """Show an event."""
        now = time.monotonic()
        self.count(event, now)
        match event:
            case RunStarted():
                self.progress.update(
                    self._overall,
                    description=f"Training on {event.workers} workers",
                    total=event.to_train,
                )
            case CellStarted(cell=cell):
                self._remove(cell)
                self._running[cell.id] = self.progress.add_task(
                    self.describe_cell(cell), total=cell.epochs, detail="starting"
                )
            case EpochFinished(cell=cell, row=row) if cell.id in self._running:
                detail = (
                    f"epoch {row['epoch']:.0f} of ≤ {cell.epochs}, val loss {row['val_loss']:.4g}"
                )
                self.progress.update(self._running[cell.id], completed=row["epoch"], detail=detail)
            case CellFinished(result=result):
                self._remove(result.cell)
                if result.outcome in ("failed", "killed"):
                    self.progress.console.print(
                        f"{self.describe_cell(result.cell)}: {_format_outcome(result)}"
                    )
            case WorkerLost():
                if event.cell is not None:
                    self._remove(event.cell)
                self.progress.console.print(_format_loss(event, self))
            case Notice(text=text):
                self.progress.console.print(visible(text))
        self.progress.update(
            self._overall, completed=self.done, detail=self.summarize(now) if self.to_train else ""
        )

    def _remove(self, cell: Cell) -> None:
        if cell.id in self._running:
            self.progress.remove_task(self._running.pop(cell.id))


def _format_opening(event: RunStarted) -> str:
    already = event.total - event.to_train
    done = f" ({already:,} of {event.total:,} are done already)" if already else ""
    return f"Training {event.to_train:,} cells on {event.workers} {'workers' if event.workers > 1 else 'worker'}{done}."


def _format_outcome(result: Result) -> str:
    if result.outcome == "ok":
        return f"ok after {result.metrics.get('epochs', math.nan):.0f} epochs"
    message = result.message.strip()
    return visible(
        f"{result.outcome}: {message.splitlines()[-1][:200]}" if message else result.outcome
    )


def _format_loss(event: WorkerLost, display: _Display) -> str:
    what = f" ({display.describe_cell(event.cell)})" if event.cell is not None else ""
    return f"Worker {event.worker}{what}: {visible(event.reason)}{'; tried again' if event.retried else ''}."
