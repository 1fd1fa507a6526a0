"""How long the rest of a run will take, from how long its cells have taken so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fanin.cell.cell import Cell

Kind = tuple[str, str]


def kind_of(cell: Cell) -> Kind:
    """Cells of one model and data set take about the same time."""
    return cell.model, cell.data


@dataclass
class RemainingTime:
    """The cells that are still to be trained, and the time that finished ones of their kind took.

    Args:
        cells: what the run trains.
        workers: how many cells train at once.
    """

    cells: Iterable[Cell]
    workers: int = 1
    _waiting: dict[str, Kind] = field(init=False)
    _started: dict[str, tuple[Kind, float]] = field(default_factory=dict, init=False)
    _taken: dict[Kind, list[float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._waiting = {cell.id: kind_of(cell) for cell in self.cells}

    def begin(self, cell: Cell, now: float) -> None:
        """A worker takes the cell at the time `now`, in seconds."""
        self._waiting.pop(cell.id, None)
        self._started[cell.id] = (kind_of(cell), now)

    def end(self, cell: Cell, now: float) -> None:
        """The cell is done, whatever became of it."""
        if cell.id in self._started:
            kind, began = self._started.pop(cell.id)
            self._taken.setdefault(kind, []).append(now - began)

    def put_back(self, cell: Cell) -> None:
        """The cell's worker was lost; the cell is tried again."""
        if self._started.pop(cell.id, None):
            self._waiting[cell.id] = kind_of(cell)

    def estimate_seconds(self, now: float) -> float | None:
        """The estimate; None before any cell has finished."""
        if not self._taken:
            return None
        waiting = sum(self._average_seconds(kind) for kind in self._waiting.values())
        running = [
            max(self._average_seconds(kind) - (now - began), 0.0)
            for kind, began in self._started.values()
        ]
        return max((waiting + sum(running)) / self.workers, *running, 0.0)

    def _average_seconds(self, kind: Kind) -> float:
        """The mean time of finished cells of the kind, or of all kinds where none has finished."""
        taken = self._taken.get(kind) or [
            seconds for kind in self._taken.values() for seconds in kind
        ]
        return sum(taken) / len(taken)


def format_duration(seconds: float) -> str:
    """A duration as people say it: 40 s, 3 min, 2 h 10 min, 3 days."""
    if seconds < 59.5:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes / (24 * 60):.0f} days"
