"""The cells that wait for a worker, and which of them a worker may train.

A user's file may change torch for everybody when it is imported. So a worker that has imported user
code trains no cells but those with exactly that code, and cells without any get a worker that has
imported none. Results then do not depend on which worker trained what.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fanin.cell.cell import Cell

UserFiles = frozenset[tuple[str, str]]
"""The files or modules of user code, each with its SHA-256."""

NO_FILES: UserFiles = frozenset()


def list_user_files(cell: Cell) -> UserFiles:
    """The user code that a worker imports for a cell."""
    return frozenset((reference.rpartition(":")[0], sha256) for reference, sha256 in cell.sources)


class CellQueue:
    """Waiting cells in the order of the plan; a cell is found in constant time."""

    def __init__(self) -> None:
        self._waiting: dict[UserFiles, deque[Cell]] = {}
        self._positions: dict[str, int] = {}

    def fill(self, cells: Iterable[Cell]) -> None:
        """Hold these cells and no others."""
        self._waiting.clear()
        self._positions.clear()
        for position, cell in enumerate(cells):
            self._positions[cell.id] = position
            self._waiting.setdefault(list_user_files(cell), deque()).append(cell)

    def take(self, imported: UserFiles) -> Cell | None:
        """The next cell for a worker that has imported these files; None if it fits none."""
        if imported:
            waiting = self._waiting.get(imported)
            return waiting.popleft() if waiting else None
        heads = [waiting for waiting in self._waiting.values() if waiting]
        first = min(heads, key=lambda waiting: self._positions[waiting[0].id], default=None)
        return first.popleft() if first is not None else None

    def put_back(self, cell: Cell) -> None:
        """Let a cell be the next one again."""
        self._waiting.setdefault(list_user_files(cell), deque()).appendleft(cell)

    def clear(self) -> None:
        """Drop all cells."""
        self._waiting.clear()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))
