"""The results store: every attempt at every cell, and the latest plan, in ``<out>/results.sqlite``.

There is one writer (`Store`, which holds the folder's lock), and any number of readers (`read`). A
result is committed in one transaction, with its history, as the JSON text of `Result.to_json` and
the SHA-256 of that text: a number that changed on the disk is never taken for a result. A later
attempt at a cell supersedes the earlier ones, which are kept.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.crash_points import pass_crash_point
from fanin.errors import StoreCorrupt, UsageError
from fanin.store import database
from fanin.store.lock import Lock, LockHolder, find_holder
from fanin.store.progress_file import RunProgress, read_progress
from fanin.store.results_folder import ResultsFolder

_LATEST = """SELECT cell, attempt, record, digest FROM result AS r
             WHERE attempt = (SELECT max(attempt) FROM result WHERE cell = r.cell)
             ORDER BY number"""
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
    """What that process is doing, if it is a runner."""

    @property
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
        with database.translate_errors(self.folder.database):
            return _parse_plan(
                database.execute_patiently(self._connection, _LATEST_PLAN).fetchone()
            )

    def read_results(self) -> dict[str, Result]:
        """The latest attempt by cell id, in the order of their commits."""
        with database.translate_errors(self.folder.database):
            rows = database.execute_patiently(self._connection, _LATEST).fetchall()
        return {cell: parse_result(cell, record, stored) for cell, _, record, stored in rows}

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
        attempt = int(counted.fetchone()[0]) + 1
        self._connection.execute(
            "INSERT INTO result (cell, attempt, outcome, record, digest) VALUES (?, ?, ?, ?, ?)",
            (cell, attempt, result.outcome, text, compute_digest(text)),
        )
        return attempt


def read(out: Path | str) -> Snapshot:
    """What a results folder holds now, also while a runner writes it.

    Raises `UsageError` if there is no store, and `StoreCorrupt`.
    """
    folder = require_store(out)
    with database.open_for_reading(folder.database) as connection:
        rows = connection.execute(_LATEST).fetchall()
        plan = connection.execute(_LATEST_PLAN).fetchone()
    holder = find_holder(folder.lock)
    return Snapshot(
        path=folder.path,
        plan=_parse_plan(plan),
        results={cell: parse_result(cell, record, stored) for cell, _, record, stored in rows},
        attempts={cell: attempt for cell, attempt, _, _ in rows},
        holder=holder,
        progress=read_progress(folder.progress) if holder else None,
    )


def require_store(out: Path | str) -> ResultsFolder:
    """The results folder `out`; raises `UsageError` if it holds no store."""
    folder = ResultsFolder.from_path(out)
    if not folder.database.is_file():
        raise UsageError(
            f"No results in {out}: expected a folder with {folder.database.name}. `fanin run` "
            "creates one."
        )
    return folder


def parse_result(cell: str, record: str, stored_digest: str) -> Result:
    """The result in a row; raises `StoreCorrupt` if the row is not what was written."""
    result = Result.from_json(parse_record(f"result of cell {cell}", record, stored_digest))
    if result.cell.id != cell:
        raise StoreCorrupt(f"The record of cell {cell} holds a result of cell {result.cell.id}.")
    return result


def parse_record(name: str, record: Any, stored_digest: str) -> Any:
    """The JSON value of a stored text; raises `StoreCorrupt` if its bytes have changed."""
    if not isinstance(record, str) or compute_digest(record) != stored_digest:
        raise StoreCorrupt(f"The stored {name} is damaged: its bytes have changed.")
    try:
        return json.loads(record)
    except (ValueError, RecursionError):
        raise StoreCorrupt(f"The stored {name} is not JSON.") from None


def compute_digest(text: str) -> str:
    """SHA-256 of a stored text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _parse_plan(row: tuple[str, str] | None) -> Plan | None:
    return None if row is None else Plan.from_json(parse_record("plan", *row))


def _to_text(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, separators=(",", ":"))
