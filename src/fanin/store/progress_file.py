"""What a runner is doing, as it tells `fanin status` through ``progress.json``."""

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
    """The most that may run."""


@dataclass(frozen=True)
class RunProgress:
    """How far a runner is."""

    pid: int
    total: int
    """Cells of the plan."""
    done: int
    """Cells of the plan that need no more work."""
    running: tuple[RunningCell, ...]
    elapsed: float
    """Seconds since training began."""
    eta: float | None
    """Seconds that remain if the rest goes as what is done; None before anything can be said."""


class ProgressFile:
    """Writes progress at most once a second; a disk that cannot take it does not stop the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = -_INTERVAL

    def is_due(self) -> bool:
        """Whether the last writing is long enough ago."""
        return time.monotonic() - self._written >= _INTERVAL

    def write(self, progress: RunProgress) -> None:
        """Replace the file."""
        self._written = time.monotonic()
        with contextlib.suppress(FaninError):
            atomic.write(self._path, json.dumps(asdict(progress)))

    def remove(self) -> None:
        """The runner has finished."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_progress(path: Path) -> RunProgress | None:
    """The progress that was written last; None if there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return RunProgress(
            **record | {"running": tuple(RunningCell(**cell) for cell in record["running"])}
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
