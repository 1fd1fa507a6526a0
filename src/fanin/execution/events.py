"""What a run tells whoever watches it, such as the progress display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fanin.cell.cell import Cell
from fanin.cell.result import Result


@dataclass(frozen=True)
class RunStarted:
    """Workers are ready (or there is nothing to do) and it is known what will be trained."""

    total: int
    """Cells of the plan."""
    to_train: int
    """Those among them that this command trains."""
    workers: int
    environment: dict[str, Any]
    """Empty where there is nothing to train."""


@dataclass(frozen=True)
class CellStarted:
    """A worker begins a cell, or resumes it."""

    cell: Cell
    worker: int


@dataclass(frozen=True)
class EpochFinished:
    """A cell's epoch is over."""

    cell: Cell
    worker: int
    row: dict[str, float]
    """epoch (from 1), loss, val_loss, the metric, seconds."""


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
    """What it was training."""
    reason: str
    retried: bool
    """Whether the cell is tried again in this command."""


@dataclass(frozen=True)
class Notice:
    """A line of text for people."""

    text: str


Event = RunStarted | CellStarted | EpochFinished | CellFinished | WorkerLost | Notice
