"""Records: what one condition gave in one replicate, and how they are kept as JSON lines.

One line is one record: condition, replicate, values, seconds, machine. Lines are appended as they
come, so a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Condition = Mapping[str, str | float | int]
"""What is varied: factor → value."""


@dataclass(frozen=True)
class Record:
    """The values of one condition in one replicate; a value is a number or a list of numbers."""

    condition: Condition
    replicate: int
    values: Mapping[str, Any]
    """A loss that is not finite is inf, and so is a time to a target that was not reached."""
    seconds: float
    """Of processor time, which other work on the machine changes little."""
    machine: str
    torch: str

    @property
    def key(self) -> str:
        """The same for the same condition and replicate."""
        return json.dumps([dict(self.condition), self.replicate], sort_keys=True)


class Records(tuple[Record, ...]):
    """The records of one experiment."""

    def pick(self, **factors: str | float | int) -> Records:
        """The records whose conditions have these values."""
        return Records(
            record
            for record in self
            if all(record.condition.get(name) == value for name, value in factors.items())
        )

    def read(self, value: str, **factors: str | float | int) -> dict[int, Any]:
        """Replicate → value of the one condition that has these factors.

        Raises ValueError if several conditions have them.
        """
        found = {record.replicate: record.values[value] for record in self.pick(**factors)}
        if len(found) != len(self.pick(**factors)):
            raise ValueError(f"Several conditions have {factors}.")
        return found

    def list_values(self, factor: str) -> list[Any]:
        """The values of a factor, in the order of the records."""
        return list(dict.fromkeys(r.condition[factor] for r in self if factor in r.condition))

    def list_conditions(self) -> list[dict[str, Any]]:
        """All conditions, in the order of the records."""
        seen = {json.dumps(dict(r.condition), sort_keys=True): dict(r.condition) for r in self}
        return list(seen.values())


def read_records(path: Path) -> Records:
    """The records of a file; none if it does not exist. An incomplete last line is left out."""
    if not path.is_file():
        return Records()
    lines = path.read_text(encoding="utf-8").split("\n")
    return Records(Record(**json.loads(line)) for line in lines[:-1])


def append_record(path: Path, record: Record) -> None:
    """Add one record to a file, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        _drop_incomplete_line(stream)
        stream.write(json.dumps(asdict(record)).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _drop_incomplete_line(stream: Any) -> None:
    """Cut off what was written of a line when a run was cut off."""
    stream.seek(0)
    content = stream.read()
    stream.truncate(content.rfind(b"\n") + 1)
    stream.seek(0, os.SEEK_END)


def round_values(values: Iterable[float], digits: int = 4) -> list[float]:
    """Numbers of a curve with as many digits as a figure shows."""
    return [float(f"{value:.{digits}g}") for value in values]
