"""The rows of a results database, read so that none can vanish in silence.

A damaged page may hide rows without any error of SQLite. So rows are read from the table itself,
whose numbers have no gap, and compared with its index, which is stored on pages of its own. Every
record is compared with its digest (SHA-256), or by a reader that shows no number of it with the
row's checksum (CRC-32), which finds what disks do in a fraction of the time. All this costs one
pass over the file.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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
    checksum: int | None = None
    """None if the row was written before there were checksums, or was read without."""


_COLUMNS = "number, cell, attempt, outcome, CAST(record AS BLOB), digest"
SELECT_ROWS = f"SELECT {_COLUMNS} FROM result NOT INDEXED"
"""In a store of any version; without checksums."""
SELECT_ALL = f"SELECT {_COLUMNS}, checksum FROM result NOT INDEXED ORDER BY number"
# Both columns and the row's number are in the index, so the table is not read.
_SELECT_INDEX = "SELECT number, cell, attempt FROM result INDEXED BY sqlite_autoindex_result_1"
_LATEST_PLAN = "SELECT number, record, digest FROM plan ORDER BY number DESC LIMIT 1"


def iterate_rows(
    connection: sqlite3.Connection, *, by_checksum: bool = False
) -> Iterator[StoredRow]:
    """Every attempt, in the order of their commits.

    Raises `StoreCorrupt` at the first row that is not what was written, and at the end if rows are
    missing.

    Args:
        connection: a store of the current version.
        by_checksum: compare rows with their checksums where they have one, not with their digests.
    """
    find = find_mismatch if by_checksum else find_problem
    attempts: dict[str, int] = {}
    keys = set[tuple[int, str, int]]()
    with _decode_strictly(connection):
        rows = connection.execute(SELECT_ALL)
        for number, row in enumerate(map(StoredRow._make, rows), 1):
            if row.number != number:
                raise StoreCorrupt(f"row {number} is missing")
            if problem := find(row):
                raise StoreCorrupt(problem)
            attempt = attempts[row.cell] = attempts.get(row.cell, 0) + 1
            if row.attempt != attempt:
                raise StoreCorrupt(
                    f"attempt {attempt} at cell {row.cell} is missing, or its number changed"
                )
            keys.add((number, row.cell, attempt))
            yield row
        indexed = set(connection.execute(_SELECT_INDEX))
    if indexed != keys:
        raise StoreCorrupt(
            f"its table has {len(keys):,} results and its index {len(indexed):,}, which differ"
        )


@contextmanager
def _decode_strictly(connection: sqlite3.Connection) -> Iterator[None]:
    """Let text that is not UTF-8 be an error of SQLite, which is faster than to replace it."""
    before = connection.text_factory
    connection.text_factory = str
    try:
        yield
    finally:
        connection.text_factory = before


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


def find_mismatch(row: StoredRow) -> str:
    """As `find_problem`, by the row's checksum if it has one."""
    if row.checksum is None:
        return find_problem(row)
    _, cell, attempt, outcome, record, digest, checksum = row
    if (
        type(record) is bytes
        and compute_checksum(cell, attempt, outcome, record, digest) == checksum
    ):
        return ""
    return f"the stored result of cell {cell} is damaged: its bytes have changed"


def compute_checksum(cell: str, attempt: int, outcome: str, record: bytes, digest: str) -> int:
    """CRC-32 of a row, all of its columns included but its number, which is where it stands."""
    return zlib.crc32(f"{cell} {attempt} {outcome} {digest}".encode(), zlib.crc32(record))


def compute_digest(text: str | bytes) -> str:
    """SHA-256 of a stored text."""
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.sha256(content).hexdigest()
