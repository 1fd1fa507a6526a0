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
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import SETTLED, Result
from fanin.crash_points import pass_crash_point
from fanin.errors import StoreCorrupt, StoreError, UsageError
from fanin.store import database
from fanin.store.lock import Lock, LockHolder, find_holder
from fanin.store.progress_file import RunProgress, read_progress
from fanin.store.results_folder import ResultsFolder
from fanin.store.stored_rows import StoredRow, compute_digest, iterate_rows, read_plan_text

_LATEST_PLAN = "SELECT record, digest FROM plan ORDER BY number DESC LIMIT 1"


@dataclass(frozen=True)
class StoredOutcome:
    """The outcome of a result whose record is not opened."""

    outcome: str
    message: str = ""
    """Of a failed or killed cell."""


R = TypeVar("R")


@dataclass(frozen=True)
class Snapshot(Generic[R]):
    """What a results folder held at one moment."""

    path: Path
    plan: Plan | None
    """The latest plan that was run; None if results were only merged."""
    results: Mapping[str, R]
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
    def planned_results(self) -> list[tuple[PlannedCell, R | None]]:
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
        with _explain_damage(self.folder.database):
            return _parse_plan(read_plan_text(self._connection))

    def read_results(self) -> dict[str, Result]:
        """The latest attempt by cell id, in the order of their commits."""
        with _explain_damage(self.folder.database):
            return _read_latest(self._connection, parse_row)[0]

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


def read(out: Path | str) -> Snapshot[Result]:
    """What a results folder holds now, also while a runner writes it.

    Raises `UsageError` if there is no store, and `StoreCorrupt`.
    """
    return _read(out, parse_row)


def read_summaries(out: Path | str) -> Snapshot[Result]:
    """As `read`, with empty histories: in less time and memory, for tables of results."""
    return _read(out, _parse_summary)


def read_outcomes(out: Path | str) -> Snapshot[StoredOutcome]:
    """As `read`, with nothing of the results but their outcomes: fast, whatever their number."""
    return _read(out, _parse_outcome)


def _read(out: Path | str, parse: Callable[[StoredRow], R]) -> Snapshot[R]:
    folder = require_store(out)
    with (
        _explain_damage(folder.database),
        database.open_for_reading(folder.database) as connection,
    ):
        results, attempts = _read_latest(connection, parse)
        plan = _parse_plan(read_plan_text(connection))
    holder, without_lock = None, ""
    try:
        holder = find_holder(folder.lock)
    except StoreError as error:  # it can be read all the same
        without_lock = str(error)
    return Snapshot(
        path=folder.path,
        plan=plan,
        results=results,
        attempts=attempts,
        holder=holder,
        progress=read_progress(folder.progress) if holder else None,
        without_lock=without_lock,
    )


def _read_latest(
    connection: sqlite3.Connection, parse: Callable[[StoredRow], R]
) -> tuple[dict[str, R], dict[str, int]]:
    """The latest attempt by cell id, in the order of their commits, and its number.

    One row is in memory at a time, apart from what `parse` makes of it.
    """
    results, attempts = dict[str, R](), dict[str, int]()
    for row in iterate_rows(connection):
        results.pop(row.cell, None)
        results[row.cell] = parse(row)
        attempts[row.cell] = row.attempt
    return results, attempts


@contextmanager
def _explain_damage(path: Path) -> Iterator[None]:
    """Raise the errors of damaged rows with the file's name and what can be done."""
    try:
        with database.translate_errors(path):
            yield
    except StoreCorrupt as error:
        text = str(error)
        is_explained = text.startswith(str(path))
        raise error if is_explained else database.to_corrupt_error(path, text.rstrip(".")) from None


def require_store(out: Path | str) -> ResultsFolder:
    """The results folder `out`; raises `UsageError` if it holds no store."""
    folder = ResultsFolder.from_path(out)
    if not folder.database.is_file():
        raise UsageError(
            f"No results in {out}: expected a folder with {folder.database.name}. `fanin run` "
            "creates one."
        )
    return folder


def parse_row(row: StoredRow) -> Result:
    """The result in a row; raises `StoreCorrupt` if the row is not what was written."""
    result = Result.from_json(parse_record(f"result of cell {row.cell}", row.record, row.digest))
    if result.cell.id != row.cell:
        raise StoreCorrupt(
            f"The record of cell {row.cell} holds a result of cell {result.cell.id}."
        )
    if result.outcome != row.outcome:
        raise StoreCorrupt(f"The record of cell {row.cell} has another outcome than {row.outcome}.")
    return result


def _parse_summary(row: StoredRow) -> Result:
    """The result in a row without its history, which is most of the text and is cut out of it."""
    record, whole = row.record, row
    start = record.find(b',"history":{')
    end = record.find(b'},"metrics":{', start)
    if 0 < start < end:  # as every record is written; the digest of the whole has been compared
        record = record[:start] + b',"history":{' + record[end:]
        row = row._replace(record=record, digest=compute_digest(record))
    result = parse_row(row)
    return result if not result.history else replace(parse_row(whole), history={})


def _parse_outcome(row: StoredRow) -> StoredOutcome:
    """The outcome of a row, whose record is opened only if it has a message."""
    if row.outcome in SETTLED:
        return StoredOutcome(row.outcome)
    return StoredOutcome(row.outcome, parse_row(row).message)


def parse_record(name: str, record: Any, stored_digest: str) -> Any:
    """The JSON value of a stored text; raises `StoreCorrupt` if its bytes have changed."""
    if not isinstance(record, str | bytes) or compute_digest(record) != stored_digest:
        raise StoreCorrupt(f"The stored {name} is damaged: its bytes have changed.")
    try:
        return json.loads(record)
    except (ValueError, RecursionError):
        raise StoreCorrupt(f"The stored {name} is not JSON.") from None


def _parse_plan(row: tuple[str, str] | None) -> Plan | None:
    return None if row is None else Plan.from_json(parse_record("plan", *row))


def _to_text(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, separators=(",", ":"))
