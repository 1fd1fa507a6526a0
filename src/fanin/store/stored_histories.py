"""Histories that stay in the database until they are looked at.

Histories are most of a store. Whoever shows a few of them, or adds them up one by one, needs no
more memory for a large store than for a small one.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fanin.cell.result import decode_history
from fanin.errors import StoreCorrupt
from fanin.store import database
from fanin.store.row_parser import find_history, load_json, parse_row
from fanin.store.stored_rows import SELECT_ROWS, StoredRow, find_problem

History = Mapping[str, list[float]]

_BATCH = 64
"""Histories that are read together."""


class HistoryReader:
    """Reads the histories of a database's rows, which never change, one at a time.

    The file stays open, also if its folder is moved or removed. It is locked only while a row is
    read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = database.connect_for_lookups(path)
        weakref.finalize(self, self._connection.close)
        self._latest: tuple[int, History] = (0, {})

    def defer(self, row: StoredRow) -> History:
        """The history of a row, read when it is looked at."""
        return StoredHistory(self, row.number, row.cell)

    def load(self, number: int, cell: str) -> History:
        """The history of a row. Raises `StoreCorrupt` if the row is not what was written."""
        if self._latest[0] != number:
            self._latest = number, self.load_all({number: cell})[number]
        return self._latest[1]

    def load_all(self, cells: Mapping[int, str]) -> dict[int, History]:
        """The histories of some rows by number, of which the cells are known."""
        numbers = ", ".join(f"{number:d}" for number in cells)
        query = f"{SELECT_ROWS} WHERE number IN ({numbers})"
        with database.explain_damage(self._path):
            rows = (
                StoredRow(*values) for values in database.execute_patiently(self._connection, query)
            )
            found = {
                row.number: _parse_history(row) for row in rows if row.cell == cells[row.number]
            }
            if missing := cells.keys() - found.keys():
                raise StoreCorrupt(f"the result of cell {cells[min(missing)]} is missing")
        return found


def iterate_histories(histories: Iterable[History]) -> Iterator[History]:
    """The same histories, in memory. Those that stay in a file are read some at a time."""
    waiting = iter(histories)
    while batch := list(itertools.islice(waiting, _BATCH)):
        wanted: dict[HistoryReader, dict[int, str]] = {}
        for history in batch:
            if isinstance(history, StoredHistory):
                wanted.setdefault(history.reader, {})[history.number] = history.cell
        loaded = {reader: reader.load_all(cells) for reader, cells in wanted.items()}
        for history in batch:
            if isinstance(history, StoredHistory):
                yield loaded[history.reader][history.number]
            else:
                yield history


def _parse_history(row: StoredRow) -> History:
    if problem := find_problem(row):
        raise StoreCorrupt(problem)
    start, end = find_history(row.record)
    if start == end:
        return parse_row(row).history
    columns = "{" + row.record[start:end].decode() + "}"
    return decode_history(load_json(f"history of cell {row.cell}", columns))


class StoredHistory(Mapping[str, list[float]]):
    """A history that is read when it is looked at. It is never empty."""

    __slots__ = ("cell", "number", "reader")

    def __init__(self, reader: HistoryReader, number: int, cell: str) -> None:
        self.reader, self.number, self.cell = reader, number, cell

    def __getitem__(self, name: str) -> list[float]:
        return self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(dict(self._load()))

    def __reduce__(self) -> tuple[type[dict[str, list[float]]], tuple[dict[str, list[float]]]]:
        return dict, (dict(self._load()),)  # a copy holds the numbers

    def _load(self) -> History:
        return self.reader.load(self.number, self.cell)
