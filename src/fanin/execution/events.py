"""Events: what a run tells its observers, such as the progress display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fanin.cell.cell import Cell
from fanin.cell.result import Result


@dataclass(frozen=True)
class RunStarted:
    """Workers are ready, or there is nothing to do. It is known now what will be trained."""

    total: int
    """Cells of the plan."""
    to_train: int
    """Those that this command trains."""
    workers: int
    environment: dict[str, Any]
    """Empty if there is nothing to train."""


@dataclass(frozen=True)
class CellStarted:
    """A worker begins or resumes a cell."""

    cell: Cell
    worker: int


@dataclass(frozen=True)
class EpochFinished:
    """A cell has finished an epoch."""

    cell: Cell
    worker: int
    row: dict[str, float]
    """epoch (from 1), loss, val_loss, the metrics, seconds."""


@dataclass(frozen=True)
class CellFinished:
    """A result is committed."""

    result: Result
    attempt: int


@dataclass(frozen=True)
class WorkerLost:
    """A worker died or hung."""

    worker: int
    cell: Cell | None
    """The cell that it trained, if any."""
    reason: str
    retried: bool
    """Whether the cell is tried again in this command."""


@dataclass(frozen=True)
class Notice:
    """A line of text for people."""

    text: str


Event = RunStarted | CellStarted | EpochFinished | CellFinished | WorkerLost | Notice
