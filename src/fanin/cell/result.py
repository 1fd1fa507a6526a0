"""Result: what became of a cell, and its exact form in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fanin.cell.cell import Cell
from fanin.errors import StoreCorrupt, quote

SCHEMA = 1

Outcome = Literal["ok", "diverged", "failed", "killed"]

_OUTCOMES = get_args(Outcome)

SETTLED = ("ok", "diverged")
"""Outcomes that are never retried."""

_ENVIRONMENT_KEY = ("device", "engine", "torch", "threads", "matmul", "dtype")
"""The parts of an environment that one paired comparison must not mix."""

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""Word in JSON → number."""


def describe_key_difference(theirs: Iterable[str], ours: str) -> str:
    """The parts in which environment keys differ from ours: ``engine 1 or 2, here 3``. What of ours
    is not known (``?``) is left out.
    """
    split = [key.split(" | ") for key in theirs]
    parts = []
    for place, (name, here) in enumerate(zip(_ENVIRONMENT_KEY, ours.split(" | "), strict=False)):
        there = sorted({key[place] for key in split if place < len(key)} - {here})
        if there and here != "?":
            parts.append(f"{name} {' or '.join(there)}, here {here}")
    return "; ".join(parts)


def make_environment_key(environment: Mapping[str, Any]) -> str:
    """The part of an environment that all results of a block must share, as one line of text."""
    return " | ".join(str(environment.get(key, "?")) for key in _ENVIRONMENT_KEY)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a cell.

    The outcome is ``ok`` if the training reached its end; ``diverged`` if a loss or a weight became
    NaN or infinite, which is a result like any other and never retried; ``failed`` if an exception
    was raised, whose text is `message`; ``killed`` if its process died or hung.
    """

    cell: Cell
    outcome: Outcome
    message: str = ""
    history: Mapping[str, list[float]] = field(default_factory=dict)
    """Column → value by epoch: loss, val_loss, seconds, each metric m as m and val_m, and the
    signals of a cell that measures them (`fanin.cell.signal_columns`).
    """
    metrics: dict[str, float] = field(default_factory=dict)
    """epochs, best_epoch, val_loss, test_loss, val_m, test_m; only epochs if the cell diverged.
    A metric m that was not finite, or whose code raised an error, is missing.
    """
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds: data, setup, initialize (the part of setup that computes the initial weights),
    train, evaluate, total.
    """
    environment: dict[str, Any] = field(default_factory=dict)
    """device (CPU or GPU model), engine (its version), torch, threads, matmul, dtype, and further
    facts that are recorded only.
    """
    data: dict[str, Any] = field(default_factory=dict)
    """fingerprint, canonical (whether the bytes are the published ones), source, n_train,
    n_validation, n_test; metrics (the directions of a user's own), missing_metrics (their names);
    fit (by parameter, what an initializer that looks at data did with it).
    """

    @property
    def environment_key(self) -> str:
        """The part of the environment that all results of a block must share."""
        return make_environment_key(self.environment)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the data that it was trained on; empty if it was not recorded."""
        return str(self.data.get("fingerprint", ""))

    @property
    def reason(self) -> str:
        """The line of `message` that says what happened (`find_reason`)."""
        return find_reason(self.message)

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal result.

        NaN and infinities become words.
        """
        return {
            "schema": SCHEMA,
            "id": self.cell.id,
            "cell": self.cell.to_json(),
            "outcome": self.outcome,
            "message": self.message,
            "history": {name: [*map(_encode, column)] for name, column in self.history.items()},
            "metrics": {name: _encode(value) for name, value in self.metrics.items()},
            "timings": {name: _encode(value) for name, value in self.timings.items()},
            "environment": self.environment,
            "data": self.data,
        }

    @classmethod
    def from_json(
        cls,
        record: Any,
        *,
        cell: Cell | None = None,
        history: Mapping[str, list[float]] | None = None,
    ) -> Result:
        """The result whose `to_json` gave `record`; raises `StoreCorrupt` for anything else.

        Args:
            record: the JSON object, which is kept in part.
            cell: its cell, if that is known to be made of the same fields.
            history: what stands for the history of `record`; by default that itself.
        """
        try:
            if record["schema"] != SCHEMA:
                raise StoreCorrupt(
                    f"Expected a result of schema {SCHEMA}, received schema "
                    f"{quote(record['schema'])}. Use the version of fanin that wrote it."
                )
            result = cls(
                cell=Cell.from_json(dict(record["cell"])) if cell is None else cell,
                outcome=record["outcome"],
                message=str(record["message"]),
                history=decode_history(record["history"]) if history is None else history,
                metrics=_decode_numbers(record["metrics"]),
                timings=_decode_numbers(record["timings"]),
                environment=_require_object(record["environment"]),
                data=_require_object(record["data"]),
            )
            is_inconsistent = result.outcome not in _OUTCOMES or result.cell.id != record["id"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreCorrupt(
                f"Not a result of fanin ({type(error).__name__}: {error}): {quote(record)}"
            ) from None
        if is_inconsistent:
            raise StoreCorrupt(
                f"A result has an unknown outcome or the id of another cell (outcome "
                f"{quote(result.outcome)}, id {quote(record['id'])})."
            )
        return result


def _encode(value: float) -> float | str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def decode_history(columns: Any) -> dict[str, list[float]]:
    """The history that `Result.to_json` gave as `columns`."""
    return {str(name): _decode_column(column) for name, column in columns.items()}


_NUMBERS = {float, int}


def _require_object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise TypeError(f"expected an object, received {quote(value)}")
    return value


def _decode_numbers(values: Any) -> dict[str, float]:
    """Numbers by name; nearly always they are finite and stand for themselves."""
    if type(values) is dict and _NUMBERS.issuperset(map(type, values.values())):
        return values
    return {str(name): _decode(value) for name, value in values.items()}


def _decode_column(column: Any) -> list[float]:
    """The numbers of a column of the history; nearly always they are floats already."""
    if type(column) is list and set(map(type, column)) == {float}:
        return column
    return [_decode(value) for value in column]


def _decode(value: Any) -> float:
    if isinstance(value, str):
        return NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, received {quote(value)}")
    return value


def find_reason(message: str) -> str:
    """The line of a message that says what happened: the last one of a traceback, whose beginning
    may be cut off; else the first, as an output may follow.
    """
    lines = message.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith(("Traceback", "…")) else lines[0]
