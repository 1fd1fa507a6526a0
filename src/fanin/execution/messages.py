"""What runner and worker say to one another: one JSON object a line, over the worker's pipes.

    runner → worker:   SetUp, then Train for one cell at a time; Stop; the pipe's end means "die"
    worker → runner:   Ready or Refused; EpochDone…, then Finished or Stopped for each Train

Nothing here is ever pickled, and a line that is not one of these ends the worker that sent it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fanin.errors import DataError, FaninError, UsageError


@dataclass(frozen=True)
class SetUp:
    """Get ready to train on a device."""

    device: str
    matmul: str | None
    """The matmul backend to use; None asks the worker to find out which one may be used for
    `cells`.
    """
    cells: list[dict[str, Any]]


@dataclass(frozen=True)
class Train:
    """Train a cell."""

    cell: dict[str, Any]
    checkpoints: str
    checkpoint_interval: float
    weights: str | None


@dataclass(frozen=True)
class Stop:
    """Write a checkpoint at the next epoch's end and train no further."""


@dataclass(frozen=True)
class Ready:
    """Set up; what every result of this worker will say of its environment, and the matmul backend
    in use.
    """

    environment: dict[str, Any]
    matmul: str


@dataclass(frozen=True)
class Refused:
    """Setting up is impossible, and why."""

    text: str
    exit_code: int

    def to_error(self) -> FaninError:
        """The error to raise in the runner."""
        kind = {2: UsageError, 4: DataError}.get(self.exit_code)
        return kind(self.text) if kind else FaninError(f"Workers cannot train here: {self.text}")


@dataclass(frozen=True)
class EpochDone:
    """An epoch's row of the history."""

    cell: str
    row: dict[str, float]


@dataclass(frozen=True)
class CellDone:
    """A cell's result."""

    record: dict[str, Any]
    exit_code: int
    """0, or that of the error which made the cell fail."""


@dataclass(frozen=True)
class CellStopped:
    """A cell was left at a checkpoint."""

    cell: str


Command = SetUp | Train | Stop
Report = Ready | Refused | EpochDone | CellDone | CellStopped
Message = Command | Report

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (SetUp, Train, Stop, Ready, Refused, EpochDone, CellDone, CellStopped)
}


def encode(message: Message) -> bytes:
    """The message as one line. NaN and infinities pass, as Python's own extension of JSON."""
    return json.dumps({"is": type(message).__name__, **vars(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line; raises ValueError for anything else."""
    try:
        fields = json.loads(line)
        return _KINDS[fields.pop("is")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a message: {line[:80]!r}") from error
