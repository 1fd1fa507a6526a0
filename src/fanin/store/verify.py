"""Checking a results store: its structure, and every byte of its records."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fanin.cell.cell import compute_id
from fanin.errors import FaninError, StoreCorrupt
from fanin.store import database
from fanin.store.results_folder import require_store
from fanin.store.row_parser import parse_plan, parse_row
from fanin.store.stored_rows import SELECT_ALL, StoredRow, find_mismatch


def verify(out: Path | str) -> list[str]:
    """The problems of the store in `out`, which is not changed. Raises `UsageError` if there is no
    store.
    """
    path = require_store(out).database
    try:
        with database.open_for_reading(path) as connection:
            return [
                *_check_structure(connection),
                *_check_results(connection),
                *_check_plans(connection),
            ]
    except FaninError as error:
        return [str(error)]


def _check_structure(connection: sqlite3.Connection) -> list[str]:
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else [f"SQLite finds: {problem}" for problem in found]


def _check_results(connection: sqlite3.Connection) -> list[str]:
    problems, attempts, last = list[str](), dict[str, int](), 0
    for values in connection.execute(SELECT_ALL):
        row = StoredRow(*values)
        where = f"cell {row.cell}, attempt {row.attempt}"
        if row.number != last + 1:
            problems.append(f"rows {last + 1} to {row.number - 1} are missing")
        last = row.number
        try:
            parse_row(row)
            if problem := find_mismatch(row):
                raise StoreCorrupt(problem)
        except StoreCorrupt as error:
            problems.append(f"{where}: {error}")
        expected = attempts.get(row.cell, 0) + 1
        if row.attempt != expected:
            problems.append(f"{where}: expected attempt {expected}")
        attempts[row.cell] = row.attempt
    return problems


def _check_plans(connection: sqlite3.Connection) -> list[str]:
    problems = list[str]()
    for number, record, stored in connection.execute(
        "SELECT number, record, digest FROM plan ORDER BY number"
    ):
        try:
            cells = [planned.cell for planned in parse_plan(record, stored).cells]
            if any(compute_id(cell.to_json()) != cell.id for cell in cells):
                raise StoreCorrupt("the id of a cell is not that of its fields")
        except StoreCorrupt as error:
            problems.append(f"plan {number}: {error}")
    return problems
