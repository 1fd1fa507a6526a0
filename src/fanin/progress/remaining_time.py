"""The remaining time of a run, from the time that its cells have taken; durations in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fanin.cell.cell import Cell

Kind = tuple[str, str]
"""Model, or the user's trainer, and data set: cells that share both take about the same time."""


@dataclass
class RemainingTime:
    """Estimates the remaining time of a run from the times of finished cells of the same kind.

    Args:
        cells: the cells that the run trains.
        workers: the number of cells that train at once.
    """

    cells: Iterable[Cell]
    workers: int = 1
    _waiting: dict[str, Kind] = field(init=False)
    _started: dict[str, tuple[Kind, float]] = field(default_factory=dict, init=False)
    _taken: dict[Kind, list[float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._waiting = {cell.id: _get_kind(cell) for cell in self.cells}

    def begin(self, cell: Cell, now: float) -> None:
        """Record that a worker begins the cell at the time `now`, in seconds."""
        self._waiting.pop(cell.id, None)
        self._started[cell.id] = (_get_kind(cell), now)

    def end(self, cell: Cell, now: float) -> None:
        """Record that the cell has a result, of any outcome."""
        if cell.id in self._started:
            kind, began = self._started.pop(cell.id)
            self._taken.setdefault(kind, []).append(now - began)

    def put_back(self, cell: Cell) -> None:
        """Record that the cell's worker was lost, and that the cell is tried again."""
        if self._started.pop(cell.id, None):
            self._waiting[cell.id] = _get_kind(cell)

    def estimate_seconds(self, now: float) -> float | None:
        """The remaining seconds; None until a cell has finished."""
        if not self._taken:
            return None
        waiting = sum(self._average_seconds(kind) for kind in self._waiting.values())
        running = [
            max(self._average_seconds(kind) - (now - began), 0.0)
            for kind, began in self._started.values()
        ]
        return max((waiting + sum(running)) / self.workers, *running, 0.0)

    def _average_seconds(self, kind: Kind) -> float:
        """The mean time of finished cells of the kind, or if there are none, of all kinds."""
        taken = self._taken.get(kind) or [
            seconds for kind in self._taken.values() for seconds in kind
        ]
        return sum(taken) / len(taken)


def _get_kind(cell: Cell) -> Kind:
    return cell.trainer or cell.model, cell.data


def format_duration(seconds: float) -> str:
    """A duration in words: 40 s, 3 min, 2 h 10 min, 3 days."""
    if seconds < 59.5:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes / (24 * 60):.0f} days"
