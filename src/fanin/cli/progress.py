"""Progress of a run on standard error: bars on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.cli.command_output import print_clean
from fanin.cli.download_progress import show_downloads
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
from fanin.execution.observer import OnDownload, OnEvent, Stage
from fanin.report.escaping import escape_invisible

LINE_EVERY = 2.0
"""The least seconds between two lines about finished cells, off a terminal."""

_MESSAGE_LENGTH = 200


@dataclass(frozen=True)
class ProgressDisplay:
    """Shows every stage of a run on a stream, standard error by default: an `Observer`."""

    stream: TextIO | None = None

    def watch_downloads(self, stage: Stage) -> AbstractContextManager[OnDownload]:
        """Show the downloads of a stage."""
        return show_downloads(self.stream)

    def watch_training(self, stage: Stage) -> AbstractContextManager[OnEvent]:
        """Show the training of a stage."""
        return show_training(stage.to_train, label_cells(stage.plan), self.stream)


def label_cells(plan: Plan) -> dict[str, str]:
    """Cell id → its initializer, and what else varies apart from model and data."""
    labels = {}
    for planned in plan.cells:
        initializer = planned.labels.get("initializer", planned.cell.initializer)
        further = [
            label
            for axis, label in planned.labels.items()
            if axis not in ("model", "data", "initializer")
        ]
        labels[planned.cell.id] = " · ".join([initializer, *further])
    return labels


@contextmanager
def show_training(
    cells: Iterable[Cell], labels: Mapping[str, str], stream: TextIO | None = None
) -> Iterator[OnEvent]:
    """Show the events that the yielded function is called with.

    Args:
        cells: the cells that the run trains.
        labels: cell id → how to call the cell, besides its model and data.
        stream: standard error by default; a terminal gets bars, which vanish at the end.
    """
    out = sys.stderr if stream is None else stream
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    tally = _Tally(RemainingTime(tuple(cells)), labels)
    if not console.is_terminal:
        yield _Lines(tally, out).handle
        return
    bars = _Bars(tally, console)
    with bars.progress:
        yield bars.handle


@dataclass
class _Tally:
    """What both displays count, and how they describe it."""

    remaining: RemainingTime
    labels: Mapping[str, str]
    done: int = 0
    to_train: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

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
        bad = [f"{count} {outcome}" for outcome, count in self.outcomes.items() if outcome != "ok"]
        seconds = self.remaining.estimate_seconds(now)
        to_go = (
            [f"about {format_duration(max(seconds, 1))} to go"]
            if seconds is not None and self.done < self.to_train
            else []
        )
        return ", ".join([f"{self.done}/{self.to_train} cells", *bad, *to_go])

    def describe_cell(self, cell: Cell) -> str:
        """model · data · initializer #replicate."""
        label = self.labels.get(cell.id, cell.initializer)
        replicate = f" #{cell.replicate}" if cell.replicate else ""
        return escape_invisible(f"{cell.model} · {cell.data} · {label}{replicate}")

    def describe_loss(self, event: WorkerLost) -> str:
        """Worker 2 (model · data · initializer): why; tried again."""
        cell = f" ({self.describe_cell(event.cell)})" if event.cell is not None else ""
        retried = "; tried again" if event.retried else ""
        return f"Worker {event.worker}{cell}: {escape_invisible(event.reason)}{retried}."


class _Lines:
    """Plain lines, for logs: failures at once, other cells at most every `LINE_EVERY` s."""

    def __init__(self, tally: _Tally, stream: TextIO) -> None:
        self._tally = tally
        self._stream = stream
        self._last = -math.inf

    def handle(self, event: Event) -> None:
        """Print a line about an event, or count it for a later line."""
        now = time.monotonic()
        self._tally.count(event, now)
        match event:
            case RunStarted() if event.to_train:
                self._print(_describe_start(event))
            case CellFinished(result=result) if self._is_due(result, now):
                self._last = now
                cell = self._tally.describe_cell(result.cell)
                self._print(f"{self._tally.summarize(now)}: {cell}: {_describe_outcome(result)}")
            case WorkerLost():
                self._print(self._tally.describe_loss(event))
            case Notice(text=text):
                self._print(escape_invisible(text))

    def _is_due(self, result: Result, now: float) -> bool:
        return (
            result.outcome in ("failed", "killed")
            or self._tally.done == self._tally.to_train
            or now - self._last >= LINE_EVERY
        )

    def _print(self, text: str) -> None:
        print_clean(text, self._stream)
        self._stream.flush()


class _Bars:
    """A bar for all cells and one for each that is running; notices scroll past above them."""

    def __init__(self, tally: _Tally, console: Console) -> None:
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
        self._tally = tally
        self._overall = self.progress.add_task("Starting workers", total=None, detail="")
        self._running: dict[str, TaskID] = {}

    def handle(self, event: Event) -> None:
        """Show an event."""
        now = time.monotonic()
        self._tally.count(event, now)
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
                    self._tally.describe_cell(cell), total=cell.epochs, detail="starting"
                )
            case EpochFinished(cell=cell, row=row) if cell.id in self._running:
                detail = (
                    f"epoch {row['epoch']:.0f} of ≤ {cell.epochs}, val loss {row['val_loss']:.4g}"
                )
                self.progress.update(self._running[cell.id], completed=row["epoch"], detail=detail)
            case CellFinished(result=result):
                self._remove(result.cell)
                if result.outcome in ("failed", "killed"):
                    cell_text = self._tally.describe_cell(result.cell)
                    self.progress.console.print(f"{cell_text}: {_describe_outcome(result)}")
            case WorkerLost():
                if event.cell is not None:
                    self._remove(event.cell)
                self.progress.console.print(self._tally.describe_loss(event))
            case Notice(text=text):
                self.progress.console.print(escape_invisible(text))
        detail = self._tally.summarize(now) if self._tally.to_train else ""
        self.progress.update(self._overall, completed=self._tally.done, detail=detail)

    def _remove(self, cell: Cell) -> None:
        if cell.id in self._running:
            self.progress.remove_task(self._running.pop(cell.id))


def _describe_start(event: RunStarted) -> str:
    already = event.total - event.to_train
    done = f" ({already:,} of {event.total:,} are done already)" if already else ""
    workers = f"{event.workers} {'workers' if event.workers > 1 else 'worker'}"
    return f"Training {event.to_train:,} cells on {workers}{done}."


def _describe_outcome(result: Result) -> str:
    if result.outcome == "ok":
        return f"ok after {result.metrics.get('epochs', math.nan):.0f} epochs"
    message = result.message.strip()
    if not message:
        return result.outcome
    return escape_invisible(f"{result.outcome}: {message.splitlines()[-1][:_MESSAGE_LENGTH]}")
