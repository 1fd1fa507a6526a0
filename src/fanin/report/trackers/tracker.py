"""Tracker: what writes cells for TensorBoard or MLflow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from fanin.cell.result import Result
from fanin.report.trackers.cell_record import CellRecord, list_epochs


class Tracker(ABC):
    """Writes one run per cell. A run that is written again replaces the earlier one."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        """Cell id → its epochs that were written."""

    def log_epoch(self, record: CellRecord, epoch: int, row: Mapping[str, float]) -> None:
        """Write an epoch, from 1; one that was written already is not written again."""
        self._log_epochs(record, {epoch: row})

    def log_result(self, record: CellRecord, result: Result) -> None:
        """Write what is missing of a run, and end it."""
        self._log_epochs(record, dict(enumerate(list_epochs(result), 1)))
        self.end_run(record, result)
        del self._epochs[record.cell]

    def _log_epochs(self, record: CellRecord, rows: Mapping[int, Mapping[str, float]]) -> None:
        if record.cell not in self._epochs:
            self._epochs[record.cell] = 0
            self.start_run(record)
        written = self._epochs[record.cell]
        if new := {epoch: row for epoch, row in rows.items() if epoch > written}:
            self._epochs[record.cell] = max(new)
            self.write_epochs(record, new)

    @abstractmethod
    def start_run(self, record: CellRecord) -> None:
        """Begin a cell's run."""

    @abstractmethod
    def write_epochs(self, record: CellRecord, rows: Mapping[int, Mapping[str, float]]) -> None:
        """Write the numbers of one epoch or several."""

    @abstractmethod
    def end_run(self, record: CellRecord, result: Result) -> None:
        """Write a cell's final metrics and outcome."""

    @abstractmethod
    def describe_place(self) -> str:
        """Where the runs are, and how to look at them."""

    def close(self) -> None:  # noqa: B027
        """Write what is not written yet."""
