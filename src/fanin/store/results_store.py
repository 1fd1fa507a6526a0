"""The results store: every attempt at every cell, and the latest plan, in ``<out>/results.sqlite``.

There is one writer (`Store`, which holds the folder's lock), and any number of readers (`read`). A
result is committed in one transaction, with its history, as the JSON text of `Result.to_json` and
the SHA-256 of that text: a number that changed on the disk is never taken for a result. A later
attempt at a cell supersedes the earlier ones, which are kept.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.crash_points import pass_crash_point
from fanin.garbage_collection import pause_garbage_collection
from fanin.store import database
from fanin.store.lock import Lock, LockHolder
from fanin.store.progress_file import RunProgress
from fanin.store.results_folder import ResultsFolder, require_store
from fanin.store.row_parser import RowParser, parse_plan
from fanin.store.stored_histories import HistoryReader
from fanin.store.stored_rows import (
    StoredRow,
    compute_checksum,
    compute_digest,
    iterate_rows,
    read_plan_text,
)
from fanin.store.writer import find_writer

Parsed = Iterator[tuple[StoredRow, Result]]

_LATEST_PLAN = "SELECT record, digest FROM plan ORDER BY number DESC LIMIT 1"


@dataclass(frozen=True)
class Snapshot:
    """What a results folder held at one moment."""

    path: Path
    plan: Plan | None
    """The latest plan that was run; None if results were only merged."""
    results: Mapping[str, Result]
    """The latest attempt by cell id, in the order of their commits."""
    attempts: Mapping[str, int]
    """The number of attempts by cell id."""
    holder: LockHolder | None
    """The process that writes the store now; None if none does."""
    progress: RunProgress | None
    """What that process is doing, if it is a runner and has said so."""
    without_lock: str = ""
    """Why it cannot be told who writes the store, if it cannot."""

    @cached_property
    def planned_results(self) -> list[tuple[PlannedCell, Result | None]]:
        """The latest plan's cells, each with its result if there is one."""
        return [
            (planned, self.results.get(planned.cell.id))
            for planned in (self.plan.cells if self.plan else ())
        ]


class Store:
    """The one writer of a results folder. Use it as a context manager, from one thread."""

    def __init__(self, folder: ResultsFolder, lock: Lock, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._lock = lock
        self._connection = connection

    @classmethod
    def create_or_open(cls, out: Path | str) -> Store:
        """Open the store in the folder `out`, both created if missing.

        Raises `OutputError` if they cannot be written, `StoreLocked` if another process writes
        them, and `StoreCorrupt` or `StoreFull`.
        """
        folder = ResultsFolder.from_path(out)
        folder.create()
        lock = Lock(folder.lock)
        try:
            if not folder.database.exists():
                database.create(folder.database)
            return cls(folder, lock, database.open_for_writing(folder.database))
        except BaseException:
            lock.release()
            raise

    def add(self, result: Result) -> int:
        """Commit a result as its cell's next attempt; returns the attempt's number, from 1."""
        return self.add_all([result])[0]

    def add_all(self, results: Iterable[Result]) -> list[int]:
        """Commit several results: all of them, or after an error none."""
        with (
            database.translate_errors(self.folder.database),
            database.begin_transaction(self._connection),
        ):
            attempts = [self._insert(result) for result in results]
            pass_crash_point("store.before_commit")
        pass_crash_point("store.after_commit")
        return attempts

    def set_plan(self, plan: Plan) -> None:
        """Make `plan` the latest plan."""
        text = _to_text(plan.to_json())
        with (
            database.translate_errors(self.folder.database),
            database.begin_transaction(self._connection),
        ):
            latest = self._connection.execute(_LATEST_PLAN).fetchone()
            if latest is None or latest[0] != text:
                self._connection.execute(
                    "INSERT INTO plan (record, digest) VALUES (?, ?)", (text, compute_digest(text))
                )

    def read_plan(self) -> Plan | None:
        """The latest plan."""
        with database.explain_damage(self.folder.database):
            text = read_plan_text(self._connection)
            return None if text is None else parse_plan(*text)

    def read_results(self) -> dict[str, Result]:
        """The latest attempt by cell id, in the order of their commits."""
        with database.explain_damage(self.folder.database):
            return _select_latest(RowParser().parse(iterate_rows(self._connection)))[0]

    def close(self) -> None:
        """Close the file and release the lock."""
        self._connection.close()
        self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _insert(self, result: Result) -> int:
        cell, text = result.cell.id, _to_text(result.to_json())
        counted = self._connection.execute(
            "SELECT coalesce(max(attempt), 0) FROM result WHERE cell = ?", (cell,)
        )
        attempt, digest = int(counted.fetchone()[0]) + 1, compute_digest(text)
        checksum = compute_checksum(cell, attempt, result.outcome, text.encode(), digest)
        self._connection.execute(
            "INSERT INTO result (cell, attempt, outcome, record, digest, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (cell, attempt, result.outcome, text, digest, checksum),
        )
        return attempt


def read(out: Path | str) -> Snapshot:
    """What a results folder holds now, also while a runner writes it.

    Raises `UsageError` if there is no store, and `StoreCorrupt`.
    """
    return _read(out, RowParser.parse)


def read_summaries(out: Path | str) -> Snapshot:
    """As `read`, with empty histories: in less time and memory, for tables of results."""
    return _read(out, RowParser.parse_summaries)


def read_lazily(out: Path | str) -> Snapshot:
    """As `read`, with histories that stay in the file until they are looked at."""
    reader = HistoryReader(require_store(out).database)
    return _read(out, lambda parser, rows: parser.parse_summaries(rows, reader.defer))


@pause_garbage_collection()
def _read(out: Path | str, parse: Callable[[RowParser, Iterable[StoredRow]], Parsed]) -> Snapshot:
    folder = require_store(out)
    with (
        database.explain_damage(folder.database),
        database.open_for_reading(folder.database) as connection,
    ):
        parser = RowParser(read_plan_text(connection))
        results, attempts = _select_latest(parse(parser, iterate_rows(connection)))
    return Snapshot(folder.path, parser.plan, results, attempts, *find_writer(folder))


def _select_latest(parsed: Parsed) -> tuple[dict[str, Result], dict[str, int]]:
    """The latest attempt by cell id, in the order of their commits, and its number."""
    results, attempts = dict[str, Result](), dict[str, int]()
    for row, result in parsed:
        if row.attempt > 1:
            results.pop(row.cell, None)
        results[row.cell] = result
        attempts[row.cell] = row.attempt
    return results, attempts


def _to_text(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, separators=(",", ":"))
