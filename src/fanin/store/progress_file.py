"""``progress.json``: what a runner is doing, for ``fanin status``."""

from __future__ import annotations

import contextlib
import json
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
    """The progress in a file; None if there is none, or it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return RunProgress(
            **record | {"running": tuple(RunningCell(**cell) for cell in record["running"])}
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
