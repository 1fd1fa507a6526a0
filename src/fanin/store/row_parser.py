"""From stored rows to results.

`parse_row` reads one row by itself. `RowParser` reads many: what most of them share (cells of the
plan, environments, data sets) is parsed once. Both raise `StoreCorrupt` if a row is not what was
written.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.errors import StoreCorrupt
from fanin.store.stored_rows import StoredRow, compute_digest

_BEFORE_HISTORY, _AFTER_HISTORY = b',"history":{', b'},"metrics":{'
_BEFORE_CELL, _AFTER_CELL = b',"cell":{', b'},"outcome":"'
_BEFORE_ENVIRONMENT = b',"environment":{'
_HEAD = {"schema", "id", "outcome", "message", "history", "metrics", "timings"}
_TAIL = {"environment", "data"}
_MOST_TAILS = 1000
_BATCH = 256
"""Rows whose texts are parsed together."""


def parse_record(name: str, record: Any, stored_digest: str) -> Any:
    """The JSON value of a stored text; raises `StoreCorrupt` if its bytes have changed."""
    if not isinstance(record, str | bytes) or compute_digest(record) != stored_digest:
        raise StoreCorrupt(f"The stored {name} is damaged: its bytes have changed.")
    return load_json(name, record)


def parse_row(row: StoredRow) -> Result:
    """The result in a row, whose digest is compared."""
    record = parse_record(_name(row), row.record, row.digest)
    return _check(row, Result.from_json(record))


def find_history(record: bytes) -> tuple[int, int]:
    """Where the columns of the history are in a record; twice the same place if there are none, or
    if the record is not as `Result.to_json` gives it.

    No text of a record can look so: in JSON the quotes inside a text are written ``\\"``.
    """
    start = record.find(_BEFORE_HISTORY)
    end = record.find(_AFTER_HISTORY, start)
    return (start + len(_BEFORE_HISTORY), end) if 0 < start < end else (0, 0)


def parse_plan(text: str, digest: str) -> Plan:
    """The plan in a stored text; raises `StoreCorrupt` if that is not what was written."""
    return Plan.from_json(parse_record("plan", text, digest))


LoadHistory = Callable[[StoredRow], Mapping[str, list[float]]]
"""What stands for the history of a row that has one."""


class RowParser:
    """Makes results of rows whose digests have been compared (`stored_rows.iterate_rows`).

    Args:
        plan_text: text and digest of the plan that most rows belong to.
    """

    def __init__(self, plan_text: tuple[str, str] | None = None) -> None:
        self.plan = None if plan_text is None else parse_plan(*plan_text)
        cells = self.plan.cells if self.plan else ()
        self._cells = {planned.cell.id: planned.cell for planned in cells}
        self._tails: dict[bytes, dict[str, Any]] = {}

    def parse(self, rows: Iterable[StoredRow]) -> Iterator[tuple[StoredRow, Result]]:
        """Rows and their results."""
        for row in rows:
            record = load_json(_name(row), row.record)
            yield row, _check(row, Result.from_json(record, cell=self._cells.get(row.cell)))

    def parse_summaries(
        self, rows: Iterable[StoredRow], load_history: LoadHistory = lambda row: {}
    ) -> Iterator[tuple[StoredRow, Result]]:
        """Rows and their results without histories, which are most of a row's text and are cut out
        of it.

        Args:
            rows: the rows.
            load_history: makes what stands in the place of a history; by default nothing does.
        """
        rows = iter(rows)
        while batch := list(itertools.islice(rows, _BATCH)):
            for row, record in zip(batch, self._load_summaries(batch), strict=True):
                history = load_history(row) if record["history"] else {}
                cell = self._cells.get(row.cell)
                yield row, _check(row, Result.from_json(record, cell=cell, history=history))

    def _load_summaries(self, rows: Sequence[StoredRow]) -> Iterator[Any]:
        """The JSON values of records, whose histories are true if there are some.

        What is known is cut out of the texts: the cell, if it is the plan's, whose id names it; and
        the end, which many rows share. A record that is not as `Result.to_json` gives it is read
        whole.
        """
        found = [self._cut(row) for row in rows]
        try:
            heads = json.loads(b"[" + b",".join(head for head, _, _ in found) + b"]")
        except ValueError:
            heads = []
        if len(heads) != len(rows):
            heads = [{} for _ in rows]
        for row, head, (_, tail, has_history) in zip(rows, heads, found, strict=True):
            fields = head.keys()
            is_whole = fields == _HEAD or fields - {"cell"} == _HEAD
            if is_whole and head["id"] == row.cell and tail:
                head.update(tail, history=has_history)
                head.setdefault("cell", None)
                yield head
            else:
                yield load_json(_name(row), row.record)

    def _cut(self, row: StoredRow) -> tuple[bytes, dict[str, Any], bool]:
        """What of a record is still to be parsed, its end, and whether it has a history.

        No text inside of a record looks like what is searched for: its quotes are written ``\\"``.
        """
        record = row.record
        cell_start = record.find(_BEFORE_CELL)
        cell_end = record.find(_AFTER_CELL, cell_start) + 1
        start, end = find_history(record)
        tail_start = record.rfind(_BEFORE_ENVIRONMENT)
        if not 0 < cell_start < cell_end < start <= end < tail_start:
            return b"{}", {}, False
        if row.cell not in self._cells:
            cell_start = cell_end
        head = record[:cell_start] + record[cell_end:start] + record[end:tail_start] + b"}"
        return head, self._load_tail(record[tail_start:]), start < end

    def _load_tail(self, text: bytes) -> dict[str, Any]:
        """The environment and the data at the end of a record; nothing if that is not its end."""
        if text not in self._tails:
            if len(self._tails) == _MOST_TAILS:
                self._tails.clear()
            self._tails[text] = {}
            with contextlib.suppress(ValueError):
                tail = json.loads(b"{" + text[1:])
                if tail.keys() == _TAIL:
                    self._tails[text] = tail
        return self._tails[text]


def _name(row: StoredRow) -> str:
    return f"result of cell {row.cell}"


def _check(row: StoredRow, result: Result) -> Result:
    if result.cell.id != row.cell:
        raise StoreCorrupt(
            f"The record of cell {row.cell} holds a result of cell {result.cell.id}."
        )
    if result.outcome != row.outcome:
        raise StoreCorrupt(f"The record of cell {row.cell} has another outcome than {row.outcome}.")
    return result


def load_json(name: str, record: str | bytes) -> Any:
    """The value that a stored text means; raises `StoreCorrupt` if it is not JSON."""
    try:
        return json.loads(record)
    except (ValueError, RecursionError):
        raise StoreCorrupt(f"The stored {name} is not JSON.") from None
