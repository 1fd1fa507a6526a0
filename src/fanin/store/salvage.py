"""Salvaging a damaged store: every row that is still what was written goes to another folder."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.errors import FaninError, UsageError
from fanin.store import database
from fanin.store.results_folder import ResultsFolder, require_store
from fanin.store.results_store import Store
from fanin.store.row_parser import parse_plan, parse_row
from fanin.store.stored_rows import SELECT_ROWS, StoredRow
from fanin.store.verify import verify

_LEAST_BYTES = 300
"""The fewest bytes that a stored result takes: bounds the row numbers that are tried."""


@dataclass(frozen=True)
class SalvageReport:
    """What a salvage did."""

    kept: int
    """Attempts that were copied."""
    lost: int
    """Attempts that are known to have been there, and were not."""
    has_plan: bool
    """Whether a plan was copied."""
    problems: tuple[str, ...]


def salvage(source: Path | str, out: Path | str) -> SalvageReport:
    """Copy the sound results of the store in `source`, and its latest sound plan, to a new store.

    The source is not changed. Raises `UsageError` if there is no store in `source`, or one in `out`
    already, and what `Store.create_or_open` raises.
    """
    path = require_store(source).database
    if ResultsFolder.from_path(out).database.exists():
        raise UsageError(f"{out} holds a store already. Salvage into a folder without one.")
    results, highest = list[Result](), 0
    # Those of single rows are found again below.
    problems = [text for text in verify(source) if not text.startswith(("cell ", "plan "))]
    plan: Plan | None = None
    try:
        with database.open_damaged(path) as connection:
            for row in _iterate_readable(connection, path.stat().st_size // _LEAST_BYTES):
                highest = max(highest, row.number)
                try:
                    results.append(parse_row(row))
                except FaninError as error:
                    problems.append(f"row {row.number}: {error}")
            highest = max(highest, _find_highest(connection))
            plan = _find_plan(connection, problems)
    except (sqlite3.Error, FaninError) as error:
        problems.append(f"{path.name}: {error}")
    with Store.create_or_open(out) as store:
        store.add_all(results)
        if plan is not None:
            store.set_plan(plan)
    return SalvageReport(
        len(results), max(highest - len(results), 0), plan is not None, tuple(problems)
    )


def _iterate_readable(connection: sqlite3.Connection, most: int) -> Iterator[StoredRow]:
    """The rows that SQLite can still read, in their order: on a damaged page, each is tried."""
    seen = 0
    try:
        for values in connection.execute(f"{SELECT_ROWS} ORDER BY number"):
            yield StoredRow(*values)
            seen = max(seen, values[0])
        return
    except sqlite3.Error:
        pass
    last = min(_find_highest(connection) or most, most)
    for number in range(seen + 1, last + 1):
        with contextlib.suppress(sqlite3.Error):
            row = connection.execute(f"{SELECT_ROWS} WHERE number = ?", (number,)).fetchone()
            if row is not None:
                yield StoredRow(*row)


def _find_highest(connection: sqlite3.Connection) -> int:
    """The highest number of a row, by the table or its index; 0 if neither can be read."""
    numbers = [0]
    for query in (
        "SELECT max(number) FROM result NOT INDEXED",
        "SELECT max(number + 0) FROM result INDEXED BY sqlite_autoindex_result_1",
    ):
        with contextlib.suppress(sqlite3.Error):
            numbers.append(connection.execute(query).fetchone()[0] or 0)
    return max(number for number in numbers if isinstance(number, int))


def _find_plan(connection: sqlite3.Connection, problems: list[str]) -> Plan | None:
    """The latest plan that is what was written."""
    try:
        rows = connection.execute("SELECT record, digest FROM plan ORDER BY number DESC").fetchall()
    except sqlite3.Error as error:
        problems.append(f"plan: {error}")
        return None
    for record, digest in rows:
        try:
            return parse_plan(record, digest)
        except FaninError as error:
            problems.append(f"plan: {error}")
    return None
