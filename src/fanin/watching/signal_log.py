"""What a watch has seen: in memory, and as JSON lines that grow while the training runs.

The first line says what the file is. Each further line is a reading, the end of an epoch with its
metrics, a note, or how the training ended. A line that a crash has cut off is passed over. NaN and
infinities are words, as in the store.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanin import atomic
from fanin._version import __version__
from fanin.errors import OutputError, UsageError, quote
from fanin.watching.layer_reading import LayerReading, Reading
from fanin.watching.signal_series import SignalSeries, make_series
from fanin.watching.signal_verdict import judge_signals

FORMAT, VERSION = "fanin-signals", 1

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class EpochEnd:
    """The end of an epoch, and the metrics that the loop gave."""

    epoch: int
    """From 1."""
    step: int
    """Steps until then."""
    metrics: Mapping[str, float]


@dataclass
class SignalLog:
    """The readings of one training, its epochs and notes. ``print(log)`` says what they show."""

    model: str
    """The class of the model."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the first line says besides."""
    readings: list[Reading] = field(default_factory=list)
    epochs: list[EpochEnd] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be measured, and why."""
    ending: str = ""
    """``finished``, or the error that ended the training; empty while it runs."""

    @property
    def series(self) -> SignalSeries:
        """The readings by statistic, layer and step."""
        return make_series(self.readings)

    def judge(self) -> list[str]:
        """What the signals show, in sentences, the worst first."""
        return judge_signals(self.series)

    def __str__(self) -> str:
        return "\n".join([*self.judge(), *self.notes])


class SignalFile:
    """A log that grows line by line.

    Raises `OutputError` if the path holds something else, or cannot be written.
    """

    def __init__(self, path: Path, log: SignalLog, *, append: bool) -> None:
        self.path = path
        exists = path.exists()
        if exists and path.stat().st_size:
            before = _read_header(path)
            if before is None:
                raise OutputError(
                    f"{path} holds something else than signals of fanin, and is left alone. Give "
                    "another path."
                )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("a" if append else "w", encoding="utf-8")
        except OSError as error:
            raise atomic.to_output_error(path, error) from None
        if append and exists:
            _mend_last_line(path)
        if not (append and exists and path.stat().st_size):
            head = {"format": FORMAT, "version": VERSION, "fanin": __version__}
            self.write(head | {"model": log.model} | log.facts)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line and hand it to the operating system."""
        try:
            self._stream.write(json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n")
            self._stream.flush()
        except OSError as error:
            raise atomic.to_output_error(self.path, error) from None

    def close(self) -> None:
        """Close the file; what a full disk did not take is lost."""
        with contextlib.suppress(OSError):
            self._stream.close()


def encode_reading(reading: Reading) -> dict[str, Any]:
    """A reading as a JSON object."""
    layers = [[one.name, _encode(one.values)] for one in reading.layers]
    return {"step": reading.step, "epochs": reading.epoch, "layers": layers}


def encode_epoch(end: EpochEnd) -> dict[str, Any]:
    """The end of an epoch as a JSON object."""
    return {"epoch": end.epoch, "step": end.step, "metrics": _encode(end.metrics)}


def read_log(path: Path | str) -> SignalLog:
    """The log in a file, which may still grow.

    Raises `UsageError` if there is no file, or if it holds something else.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from None
    head = _parse_header(lines[0])
    if head is None:
        if lines[0].startswith('{"cell":'):
            raise UsageError(
                f"{path} holds results, not signals. Put them into a results folder: fanin store "
                f"merge DIR {path}. Then fanin run STUDY --out DIR trains what is missing, and "
                "shows all."
            )
        raise UsageError(
            f"{path} holds no signals of fanin. Expected a file that fanin.watch(…, path=…) or a "
            f"callback of fanin has written; its first line is {quote(lines[0], 60)}."
        )
    if head.get("version") != VERSION:
        raise UsageError(
            f"{path} is of version {quote(head.get('version'))} of its format; this fanin reads "
            f"version {VERSION}. Use the newer fanin that wrote it."
        )
    known = ("format", "version", "model")
    log = SignalLog(
        str(head.get("model", "")), {key: head[key] for key in head if key not in known}
    )
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            is_last = number >= len(lines)  # without its line break: a crash, or still written
            _add_line(log, line, f"{path}, line {number}", is_last)
    return log


def _add_line(log: SignalLog, line: str, place: str, is_last: bool) -> None:
    try:
        record = json.loads(line)
        if "layers" in record:
            layers = tuple(LayerReading(str(name), _decode(v)) for name, v in record["layers"])
            log.readings.append(Reading(int(record["step"]), int(record["epochs"]), layers))
        elif "metrics" in record:
            metrics = _decode(record["metrics"])
            log.epochs.append(EpochEnd(int(record["epoch"]), int(record["step"]), metrics))
        elif "note" in record:
            log.notes.append(str(record["note"]))
        elif "end" in record:
            log.ending = str(record["end"])
        log.ending = log.ending if "end" in record else ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if not is_last:
            raise UsageError(
                f"{place}: expected a line that fanin has written, received {quote(line, 60)} "
                f"({type(error).__name__}). Remove the line to use the rest."
            ) from None


def _encode(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: _encode_number(value) for name, value in values.items()}


def _encode_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _decode(values: Any) -> dict[str, float]:
    return {
        str(name): _WORDS[value] if isinstance(value, str) else float(value)
        for name, value in values.items()
    }


def _read_header(path: Path) -> dict[str, Any] | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return _parse_header(stream.readline(100_000))
    except OSError as error:
        raise atomic.to_output_error(path, error) from None


def _parse_header(line: str) -> dict[str, Any] | None:
    try:
        head = json.loads(line)
    except ValueError:
        return None
    return head if isinstance(head, dict) and head.get("format") == FORMAT else None


def _mend_last_line(path: Path) -> None:
    """Cut off a line that a crash has left incomplete: the next one is a line of its own."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as stream:
            stream.truncate(content.rfind(b"\n") + 1)
