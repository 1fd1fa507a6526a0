"""``progress.json``: what a runner is doing, for ``fanin status``."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from fanin import atomic
from fanin.errors import FaninError

_INTERVAL = 1.0


@dataclass(frozen=True)
class RunningCell:
    """A cell in training."""

    cell: str
    description: str
    epoch: int
    """Epochs finished."""
    epochs: int
    """The most that it may train."""


@dataclass(frozen=True)
class RunProgress:
    """What a runner has done, and what it is doing."""

    pid: int
    total: int
    """Cells of the plan."""
    done: int
    """Cells of the plan that need no more work."""
    running: tuple[RunningCell, ...]
    elapsed: float
    """Seconds since training began."""
    eta: float | None
    """Estimated seconds that remain; None at the beginning."""


class ProgressFile:
    """Writes progress at most once a second; a disk that cannot take it does not stop the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = -_INTERVAL

    def is_due(self) -> bool:
        """Whether the file was last written long enough ago."""
        return time.monotonic() - self._written >= _INTERVAL

    def write(self, progress: RunProgress) -> None:
        """Replace the file."""
        self._written = time.monotonic()
        with contextlib.suppress(FaninError):
            atomic.write(self._path, json.dumps(asdict(progress)))

    def remove(self) -> None:
        """Remove the file, when the runner has finished."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_progress(path: Path) -> RunProgress | None:
    """The progress in a file; None if there is none, or it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return RunProgress(
            pid=int(record["pid"]),
            total=int(record["total"]),
            done=int(record["done"]),
            running=tuple(_parse_cell(cell) for cell in record["running"]),
            elapsed=_parse_seconds(record["elapsed"]),
            eta=None if record["eta"] is None else _parse_seconds(record["eta"]),
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _parse_cell(record: dict[str, object]) -> RunningCell:
    epoch, epochs = record["epoch"], record["epochs"]
    if not isinstance(epoch, int) or not isinstance(epochs, int):
        raise TypeError("not a number of epochs")
    return RunningCell(str(record["cell"]), str(record["description"]), epoch, epochs)


def _parse_seconds(value: float) -> float:
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError("not a number of seconds")
    return seconds
