"""From stored rows to results.

`parse_row` reads one row by itself. `RowParser` reads many: what most of them share (cells of the
plan, environments, data sets) is parsed once. Both raise `StoreCorrupt` if a row is not what was
written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.errors import StoreCorrupt
from fanin.store.stored_rows import StoredRow, compute_digest

_BEFORE_HISTORY, _AFTER_HISTORY = b',"history":{', b'},"metrics":{'
_BEFORE_ENVIRONMENT = b',"environment":{'
_MOST_TAILS = 1000
_HEAD = {"schema", "id", "cell", "outcome", "message", "history", "metrics", "timings"}
_TAIL = {"environment", "data"}


def parse_record(name: str, record: Any, stored_digest: str) -> Any:
    """The JSON value of a stored text; raises `StoreCorrupt` if its bytes have changed."""
    if not isinstance(record, str | bytes) or compute_digest(record) != stored_digest:
        raise StoreCorrupt(f"The stored {name} is damaged: its bytes have changed.")
    return load_json(name, record)


def parse_row(row: StoredRow) -> Result:
    """The result in a row, whose digest is compared."""
    name = f"result of cell {row.cell}"
    return _check(row, Result.from_json(parse_record(name, row.record, row.digest)))


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
        self.plan: Plan | None = None
        self._cells: dict[str, tuple[Any, Cell]] = {}
        self._tails: dict[bytes, dict[str, Any]] = {}
        if plan_text is not None:
            record = parse_record("plan", *plan_text)
            self.plan = Plan.from_json(record)
            for item, planned in zip(record["cells"], self.plan.cells, strict=True):
                self._cells[planned.cell.id] = item["cell"], planned.cell

    def parse(self, row: StoredRow) -> Result:
        """The result in a row."""
        return self._make_result(row, self._load(row, row.record))

    def parse_summary(self, row: StoredRow, load_history: LoadHistory = lambda row: {}) -> Result:
        """The result in a row without its history, which is most of the text and is cut out of it.

        Args:
            row: the row.
            load_history: makes what stands in the place of the history; by default nothing does.
        """
        start, end = find_history(row.record)
        record = self._load(row, row.record[:start] + row.record[end:])
        has_history = start < end or bool(record["history"])
        return self._make_result(row, record, load_history(row) if has_history else {})

    def _make_result(
        self, row: StoredRow, record: Any, history: Mapping[str, list[float]] | None = None
    ) -> Result:
        fields, cell = self._cells.get(row.cell, (None, None))
        if cell is not None and record["cell"] != fields:
            cell = None
        return _check(row, Result.from_json(record, cell=cell, history=history))

    def _load(self, row: StoredRow, record: bytes) -> Any:
        """The JSON value of a record. Its end, which many rows share, is parsed once."""
        cut = record.rfind(_BEFORE_ENVIRONMENT)
        if cut > 0:
            with contextlib.suppress(ValueError):
                head, tail = json.loads(record[:cut] + b"}"), self._load_tail(record[cut:])
                if head.keys() == _HEAD and tail.keys() == _TAIL:  # cut where it was meant to be
                    return head | tail
        return load_json(f"result of cell {row.cell}", record)

    def _load_tail(self, text: bytes) -> dict[str, Any]:
        if text not in self._tails:
            if len(self._tails) == _MOST_TAILS:
                self._tails.clear()
            self._tails[text] = json.loads(b"{" + text[1:])
        return self._tails[text]


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
