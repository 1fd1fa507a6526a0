"""Cells as TensorBoard's runs: a folder of event files for each cell."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.atomic import to_output_error
from fanin.cell.result import Result
from fanin.errors import MissingExtra
from fanin.report.trackers.cell_record import CellRecord, list_finals
from fanin.report.trackers.tracker import Tracker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorboardRuns(Tracker):
    """Writes below a folder that ``tensorboard --logdir`` shows: scalars ``epoch/<column>`` by
    epoch, ``final/<metric>`` at the end, and the cell's parameters as hyperparameters beside them.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtra(
                error.name or "tensorboard", "tensorboard", "The tracker for TensorBoard"
            ) from None
        self._make_writer: Any = SummaryWriter
        self._folder = Path(folder)
        self._writers: dict[str, SummaryWriter] = {}

    def start_run(self, record: CellRecord) -> None:
        """Open the cell's event file. Files of the same cell are from an earlier export."""
        folder = self._folder / record.folder
        suffix = f".{record.cell}"
        try:
            for path in folder.glob(f"events.out.tfevents.*{suffix}"):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            folder.mkdir(parents=True, exist_ok=True)
            writer = self._make_writer(str(folder), filename_suffix=suffix)
        except OSError as error:
            raise to_output_error(folder, error) from None
        self._writers[record.cell] = writer

    def write_epochs(self, record: CellRecord, rows: Mapping[int, Mapping[str, float]]) -> None:
        """One scalar for each column of the history."""
        writer = self._writers[record.cell]
        for epoch, row in rows.items():
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(f"epoch/{name}", value, epoch)
        writer.flush()

    def end_run(self, record: CellRecord, result: Result) -> None:
        """Final metrics, hyperparameters, and what happened if the cell failed."""
        from torch.utils.tensorboard.summary import hparams

        writer = self._writers.pop(record.cell)
        finals = {f"final/{name}": value for name, value in list_finals(result).items()}
        for name, value in finals.items():
            writer.add_scalar(name, value, int(result.metrics.get("epochs", 0)))
        parameters = {
            name: value
            for name, value in record.parameters.items()
            if not (isinstance(value, float) and math.isnan(value))
        }
        for summary in hparams({**parameters, "outcome": result.outcome}, finals):
            # In this run: SummaryWriter.add_hparams would make another.
            writer._get_file_writer().add_summary(summary)
        writer.add_text("cell", f"{record.name} ({record.cell}): {result.outcome}")
        if result.message:
            writer.add_text("message", result.message)
        writer.close()

    def describe_place(self) -> str:
        return f"tensorboard --logdir {self._folder}"

    def close(self) -> None:
        """End the runs of cells that have not finished."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
