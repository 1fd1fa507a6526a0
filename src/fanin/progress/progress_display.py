"""Progress of a run on standard error: bars on a terminal, one text in a notebook, a line now and
then anywhere else.
"""

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

from fanin.cell.cell import OWN, Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result
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
from fanin.progress.cell_names import Parts, fit_names, name_varying_parts
from fanin.progress.download_progress import show_downloads
from fanin.progress.notebook import NotebookText, is_in_notebook
from fanin.progress.plain_lines import print_line
from fanin.progress.remaining_time import RemainingTime, format_duration
from fanin.report.escaping import escape_invisible

LINE_EVERY = 2.0
"""The least seconds between two lines about finished cells, off a terminal."""

_MESSAGE_LENGTH = 200

_RATIO, _BAR_RATIO = 5, 2
"""Widths of a name and of a number, and of a bar, as shares of the terminal's."""

_NOTEBOOK_COLUMNS = 60

_MOST_SAID = 20
"""Lines about failures that a notebook shows."""


@dataclass(frozen=True)
class ProgressDisplay:
    """Shows every stage of a run on a stream, standard error by default: an `Observer`."""

    stream: TextIO | None = None

    def watch_downloads(self, stage: Stage) -> AbstractContextManager[OnDownload]:
        """Show the downloads of a stage."""
        return show_downloads(self.stream)

    def watch_training(self, stage: Stage) -> AbstractContextManager[OnEvent]:
        """Show the training of a stage."""
        return show_training(
            stage.to_train,
            label_cells(stage.plan),
            self.stream,
            short=name_varying_parts(stage.plan),
            is_tuning=stage.plan.is_tuning,
        )


def is_watched() -> bool:
    """Whether somebody sees progress on standard error: at a terminal, or in a notebook."""
    return is_in_notebook() or bool(sys.stderr and sys.stderr.isatty())


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
    cells: Iterable[Cell],
    labels: Mapping[str, str],
    stream: TextIO | None = None,
    *,
    short: Mapping[str, Parts] | None = None,
    is_tuning: bool = False,
) -> Iterator[OnEvent]:
    """Show the events that the yielded function is called with.

    Args:
        cells: the cells that the run trains.
        labels: cell id → how to call the cell, besides its model and data.
        stream: standard error by default; a terminal gets bars, which vanish at the end.
        short: cell id → what tells it apart, for a live view.
        is_tuning: whether the trainings choose learning rates.
    """
    tally = _Tally(RemainingTime(tuple(cells)), labels, short or {}, is_tuning)
    if stream is None and is_in_notebook():
        yield _Notebook(tally, NotebookText()).handle
        return
    out = sys.stderr if stream is None else stream
    console = Console(file=out, highlight=False, markup=False, emoji=False)
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
    short: Mapping[str, Parts]
    is_tuning: bool
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

    @property
    def work(self) -> str:
        """What the trainings are for: the beginning of a line."""
        return "Tuning the learning rate" if self.is_tuning else "Training"

    def shorten_names(self, columns: int) -> dict[str, str]:
        """Cell id → a name of at most so many columns that tells it apart."""
        return fit_names(self.short, columns)

    def describe_cell(self, cell: Cell) -> str:
        """model · data · initializer #replicate."""
        label = self.labels.get(cell.id, cell.initializer)
        replicate = f" #{cell.replicate}" if cell.replicate else ""
        names = [name for name in (cell.model, cell.data) if name != OWN]
        return escape_invisible(f"{' · '.join([*names, label])}{replicate}")

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
                self._print(_describe_start(event, self._tally.work))
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
        print_line(text, self._stream)


class _Bars:
    """A bar for all cells and one for each that is running; notices scroll past above them."""

    def __init__(self, tally: _Tally, console: Console) -> None:
        self.progress = Progress(
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=_RATIO),
            ),
            BarColumn(bar_width=None, table_column=Column(ratio=_BAR_RATIO)),
            TextColumn(
                "{task.fields[detail]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=_RATIO),
            ),
            console=console,
            expand=True,
            transient=True,
        )
        self._tally = tally
        self._overall = self.progress.add_task("Starting workers", total=None, detail="")
        self._running: dict[str, TaskID] = {}
        self._columns = 0
        self._names: dict[str, str] = {}

    def handle(self, event: Event) -> None:
        """Show an event."""
        now = time.monotonic()
        self._tally.count(event, now)
        match event:
            case RunStarted():
                self.progress.update(
                    self._overall,
                    description=f"{self._tally.work}, {event.workers} workers",
                    total=event.to_train,
                )
            case CellStarted(cell=cell):
                self._remove(cell)
                self._running[cell.id] = self.progress.add_task(
                    self._name(cell), total=_count_epochs(cell), detail="starting"
                )
            case EpochFinished(cell=cell, row=row) if cell.id in self._running:
                detail = _describe_epoch(cell, row)
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

    def _name(self, cell: Cell) -> str:
        """The cell's name, as short as its column on the terminal is."""
        columns = self.progress.console.width * _RATIO // (2 * _RATIO + _BAR_RATIO) - 1
        if columns != self._columns:  # at first, and when the terminal has become another size
            self._columns, self._names = columns, self._tally.shorten_names(columns)
        return self._names.get(cell.id) or self._tally.describe_cell(cell)

    def _remove(self, cell: Cell) -> None:
        if cell.id in self._running:
            self.progress.remove_task(self._running.pop(cell.id))


class _Notebook:
    """One text: what was said, the running cells, the summary."""

    def __init__(self, tally: _Tally, text: NotebookText) -> None:
        self._tally = tally
        self._text = text
        self._said: list[str] = []
        self._names = tally.shorten_names(_NOTEBOOK_COLUMNS)
        self._running: dict[str, str] = {}

    def handle(self, event: Event) -> None:
        """Show an event."""
        now = time.monotonic()
        self._tally.count(event, now)
        match event:
            case RunStarted() if event.to_train:
                self._said.append(_describe_start(event, self._tally.work))
            case CellStarted(cell=cell):
                self._running[cell.id] = "starting"
            case EpochFinished(cell=cell, row=row):
                self._running[cell.id] = _describe_epoch(cell, row)
            case CellFinished(result=result):
                self._running.pop(result.cell.id, None)
                if result.outcome in ("failed", "killed"):
                    cell_text = self._tally.describe_cell(result.cell)
                    self._said.append(f"{cell_text}: {_describe_outcome(result)}")
            case WorkerLost():
                if event.cell is not None:
                    self._running.pop(event.cell.id, None)
                self._said.append(self._tally.describe_loss(event))
            case Notice(text=text):
                self._said.append(escape_invisible(text))
        running = [
            f"  {self._names.get(cell, cell)}: {text}" for cell, text in self._running.items()
        ]
        lines = [*self._said[-_MOST_SAID:], *running, self._tally.summarize(now)]
        self._text.show("\n".join(lines), now=isinstance(event, CellFinished))


def _describe_epoch(cell: Cell, row: Mapping[str, float]) -> str:
    total = _count_epochs(cell)
    most = f" of ≤ {total}" if total else ""
    name = next((name for name in ("val_loss", "loss", *row) if name in row), "")
    value = f", {name.replace('_', ' ')} {row[name]:.4g}" if name not in ("", "epoch") else ""
    return f"epoch {row['epoch']:.0f}{most}{value}"


def _count_epochs(cell: Cell) -> int | None:
    """The most epochs of a cell; None if only the user's own training knows."""
    return cell.epochs if cell.trainer is None else None


def _describe_start(event: RunStarted, work: str) -> str:
    already = event.total - event.to_train
    done = f" ({already:,} of {event.total:,} are done already)" if already else ""
    workers = f"{event.workers} {'workers' if event.workers > 1 else 'worker'}"
    return f"{work}{':' * (work != 'Training')} {event.to_train:,} cells on {workers}{done}."


def _describe_outcome(result: Result) -> str:
    if result.outcome == "ok":
        epochs = result.metrics.get("epochs")
        return "ok" if epochs is None else f"ok after {epochs:.0f} epochs"
    reason = result.reason[:_MESSAGE_LENGTH]
    return escape_invisible(f"{result.outcome}: {reason}" if reason else result.outcome)
