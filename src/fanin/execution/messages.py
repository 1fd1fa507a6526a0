"""Messages between runner and worker: one JSON object a line, over the worker's pipes.

    runner → worker    SetUp, then Train for one cell at a time; Stop; end of file means "die"
    worker → runner    Ready or Refused; for each Train, EpochDone …, then CellDone or CellStopped

    planner → worker   Ask, one at a time
    worker → planner   Answer or NoAnswer

Nothing is pickled. A worker that sends any other line is killed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fanin import errors
from fanin.errors import DataError, FaninError, UsageError


@dataclass(frozen=True)
class SetUp:
    """Get ready to train on a device."""

    device: str
    matmul: str | None
    """The matmul backend to use, if it is exact for `cells`; None asks the worker to choose one."""
    cells: list[dict[str, Any]]
    """One cell for each kind of model; empty if the backend has been chosen."""


@dataclass(frozen=True)
class Train:
    """Train a cell."""

    cell: dict[str, Any]
    checkpoints: str
    checkpoint_interval: float
    weights: str | None
    fingerprint: str = ""
    """The fingerprint that the data must have; empty if the runner has not loaded them."""


@dataclass(frozen=True)
class Stop:
    """Write a checkpoint at the next epoch's end and train no further."""


@dataclass(frozen=True)
class Ask:
    """Call a function of fanin that runs user code (`fanin.execution.planning`)."""

    function: str
    """``module:name``."""
    arguments: dict[str, Any]
    """JSON values."""


@dataclass(frozen=True)
class Answer:
    """What the function has returned."""

    value: Any
    """A JSON value."""


@dataclass(frozen=True)
class NoAnswer:
    """The function has raised an error."""

    kind: str
    """The name of its class in `fanin.errors`; empty for any other."""
    text: str
    about: list[str]

    def to_error(self) -> Exception:
        """The error to raise in the planner's process."""
        kind = getattr(errors, self.kind, None)
        if kind is None:
            return RuntimeError(self.text)
        error: FaninError = kind.__new__(kind, self.text)  # MissingExtra takes other arguments
        return error.mark_fields(*self.about)


@dataclass(frozen=True)
class Ready:
    """The worker is set up: the environment of its results, and its matmul backend."""

    environment: dict[str, Any]
    matmul: str
    leftovers: list[str] = field(default_factory=list)
    """What user code has changed in the process for good. A worker with any is replaced."""


@dataclass(frozen=True)
class Refused:
    """The worker cannot be set up."""

    text: str
    exit_code: int

    def to_error(self) -> FaninError:
        """The error to raise in the runner."""
        kind = {2: UsageError, 4: DataError}.get(self.exit_code)
        return kind(self.text) if kind else FaninError(f"Workers cannot train here: {self.text}")


@dataclass(frozen=True)
class EpochDone:
    """A cell has finished an epoch."""

    cell: str
    row: dict[str, float]
    """The epoch's row of the history."""


@dataclass(frozen=True)
class CellDone:
    """A cell has a result."""

    record: dict[str, Any]
    exit_code: int
    """0, or the exit code of the error that made the cell fail."""
    leftovers: list[str] = field(default_factory=list)
    """As in `Ready`."""


@dataclass(frozen=True)
class CellStopped:
    """A cell was stopped at a checkpoint."""

    cell: str


Command = SetUp | Train | Stop | Ask
WorkerMessage = Ready | Refused | EpochDone | CellDone | CellStopped | Answer | NoAnswer
Message = Command | WorkerMessage

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        *(SetUp, Train, Stop, Ask),
        *(Ready, Refused, EpochDone, CellDone, CellStopped, Answer, NoAnswer),
    )
}


def encode(message: Message) -> bytes:
    """The message as one line. NaN and infinities are written in Python's extension of JSON."""
    return json.dumps({"is": type(message).__name__, **vars(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message in a line; raises ValueError if it is none."""
    try:
        fields = json.loads(line)
        return _KINDS[fields.pop("is")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a message: {line[:80]!r}") from error
