"""What ``fanin status`` shows of a store: the outcome of every planned cell.

The whole file is checked (`fanin.store.stored_rows`). But the record of a result is opened only if
it has a message, and no cell of the plan is made: that takes a small part of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fanin.cell.cell import compute_id
from fanin.cell.result import SETTLED
from fanin.errors import StoreCorrupt, quote
from fanin.garbage_collection import pause_garbage_collection
from fanin.store import database
from fanin.store.lock import LockHolder
from fanin.store.progress_file import RunProgress
from fanin.store.results_folder import require_store
from fanin.store.row_parser import parse_record, parse_row
from fanin.store.stored_rows import StoredRow, iterate_rows, read_plan_text
from fanin.store.writer import find_writer


@dataclass(frozen=True)
class StoredOutcome:
    """The outcome of a result."""

    outcome: str
    message: str = ""
    """Of a failed or killed cell."""


class PlannedOutcome(NamedTuple):
    """A planned cell and what became of it."""

    fields: Mapping[str, Any]
    """Those of the cell that differ from their defaults (`fanin.cell.cell.Cell.to_json`)."""
    labels: Mapping[str, str]
    result: StoredOutcome | None
    """None if it has no result."""


@dataclass(frozen=True)
class OutcomeSnapshot:
    """The outcomes that a results folder held at one moment."""

    path: Path
    study: str | None
    """The study that was run last; None if results were only merged."""
    planned: list[PlannedOutcome]
    """The latest plan's cells."""
    results: Mapping[str, StoredOutcome]
    """The latest attempt by cell id, in the order of their commits."""
    holder: LockHolder | None
    """The process that writes the store now; None if none does."""
    progress: RunProgress | None
    """What that process is doing, if it is a runner and has said so."""
    without_lock: str = ""
    """Why it cannot be told who writes the store, if it cannot."""


_SETTLED = {outcome: StoredOutcome(outcome) for outcome in SETTLED}


@pause_garbage_collection()
def read_outcomes(out: Path | str) -> OutcomeSnapshot:
    """The outcomes that a results folder holds now, also while a runner writes it.

    Raises `UsageError` if there is no store, and `StoreCorrupt`.
    """
    folder = require_store(out)
    with (
        database.explain_damage(folder.database),
        database.open_for_reading(folder.database) as connection,
    ):
        plan = read_plan_text(connection)
        results: dict[str, StoredOutcome] = {}
        for row in iterate_rows(connection, by_checksum=True):
            if row.attempt > 1:  # the order is that of the latest attempts
                results.pop(row.cell, None)
            results[row.cell] = _parse_outcome(row)
        study, planned = (None, []) if plan is None else _outline_plan(*plan, results)
    return OutcomeSnapshot(folder.path, study, planned, results, *find_writer(folder))


def _parse_outcome(row: StoredRow) -> StoredOutcome:
    """The outcome of a row, whose record is opened only if it has a message."""
    if row.outcome in _SETTLED:
        return _SETTLED[row.outcome]
    return StoredOutcome(row.outcome, parse_row(row).message)


def _outline_plan(
    text: str, digest: str, results: Mapping[str, StoredOutcome]
) -> tuple[str, list[PlannedOutcome]]:
    """The study of a stored plan, and its cells in their order."""
    record = parse_record("plan", text, digest)
    try:
        return str(record["study"]), [
            PlannedOutcome(
                item["cell"],
                item["labels"],
                results.get(item.get("id") or compute_id(item["cell"])),
            )
            for item in record["cells"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(
            f"Not a plan of fanin ({type(error).__name__}: {error}): {quote(record)}"
        ) from None
