"""The rows of a results database, read so that none can vanish in silence.

A damaged page may hide rows without any error of SQLite. So rows are read from the table itself,
whose numbers have no gap, and compared with its index, which is stored on pages of its own. Every
record is compared with its digest. All this costs one pass over the file.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from fanin.errors import StoreCorrupt


class StoredRow(NamedTuple):
    """An attempt at a cell, as it is stored."""

    number: int
    cell: str
    attempt: int
    outcome: str
    record: bytes
    digest: str


SELECT_ROWS = (
    "SELECT number, cell, attempt, outcome, CAST(record AS BLOB), digest FROM result NOT INDEXED"
)
# Both columns and the row's number are in the index, so the table is not read.
_SELECT_INDEX = "SELECT number, cell, attempt FROM result INDEXED BY sqlite_autoindex_result_1"
_LATEST_PLAN = "SELECT number, record, digest FROM plan ORDER BY number DESC LIMIT 1"


def iterate_rows(connection: sqlite3.Connection) -> Iterator[StoredRow]:
    """Every attempt, in the order of their commits.

    Raises `StoreCorrupt` at the first row that is not what was written, and at the end if rows are
    missing.
    """
    attempts: dict[str, int] = {}
    keys = set[tuple[int, str, int]]()
    for number, values in enumerate(connection.execute(f"{SELECT_ROWS} ORDER BY number"), 1):
        row = StoredRow(*values)
        if row.number != number:
            raise StoreCorrupt(f"row {number} is missing")
        if problem := find_problem(row):
            raise StoreCorrupt(problem)
        attempts[row.cell] = attempts.get(row.cell, 0) + 1
        if row.attempt != attempts[row.cell]:
            raise StoreCorrupt(
                f"attempt {attempts[row.cell]} at cell {row.cell} is missing, or its number changed"
            )
        keys.add((row.number, row.cell, row.attempt))
        yield row
    indexed = set(connection.execute(_SELECT_INDEX))
    if indexed != keys:
        raise StoreCorrupt(
            f"its table has {len(keys):,} results and its index {len(indexed):,}, which differ"
        )


def read_plan_text(connection: sqlite3.Connection) -> tuple[str, str] | None:
    """Text and digest of the latest plan; None without one. Raises `StoreCorrupt`."""
    problem = connection.execute("PRAGMA integrity_check('plan')").fetchone()[0]
    if problem != "ok":
        raise StoreCorrupt(f"the table of plans is damaged: {problem}")
    row = connection.execute(_LATEST_PLAN).fetchone()
    counted = connection.execute("SELECT count(*) FROM plan").fetchone()[0]
    if counted != (row[0] if row else 0):
        raise StoreCorrupt(f"{row[0] - counted:,} of {row[0]:,} plans are missing")
    return None if row is None else (row[1], row[2])


def find_problem(row: StoredRow) -> str:
    """What is wrong with a row by itself; empty if it is what was written."""
    if not isinstance(row.record, bytes) or compute_digest(row.record) != row.digest:
        return f"the stored result of cell {row.cell} is damaged: its bytes have changed"
    return ""


def compute_digest(text: str | bytes) -> str:
    """SHA-256 of a stored text."""
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.sha256(content).hexdigest()
