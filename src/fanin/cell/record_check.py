"""Whether the record of a result can be true: types, ranges, and what must fit together.

A stored record is protected by its digest. One from elsewhere, such as a line of a file that was
edited, is checked whole before it counts: each problem names its key.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_args

from fanin import specs
from fanin.cell.cell import FIELDS
from fanin.cell.result import NOT_FINITE, SCHEMA, Outcome, Result
from fanin.errors import SpecError, StoreCorrupt, quote

_KEYS = {"schema", "id", *(field.name for field in fields(Result))}
_MAX_SEED = 2**63 - 1
_SHARES = ("accuracy", "val_accuracy", "test_accuracy")
"""Metrics from 0 to 1."""
_LOSSES = ("loss", "val_loss", "test_loss", "mae", "val_mae", "test_mae")
"""Numbers that are never negative."""

_SCALAR = (str, int, float, bool, type(None))


def require_plausible(record: Any) -> None:
    """Raise `StoreCorrupt`, naming the key, unless the JSON value may be what `Result.to_json` has
    written.
    """
    _require(isinstance(record, dict), "the line", "a JSON object", record)
    missing, unknown = sorted(_KEYS - record.keys()), sorted(record.keys() - _KEYS, key=str)
    _require(not missing, "the object", f"the key {', '.join(missing)}", sorted(record, key=str))
    _require(not unknown, "the object", "no other keys than those of a result", unknown)
    schema = record["schema"]
    _require(type(schema) is int and schema == SCHEMA, "schema", f"the number {SCHEMA}", schema)
    _require(isinstance(record["id"], str), "id", "text", record["id"])
    _require(isinstance(record["message"], str), "message", "text", record["message"])
    outcomes = get_args(Outcome)
    _require(record["outcome"] in outcomes, "outcome", " or ".join(outcomes), record["outcome"])
    _check_cell(record["cell"])
    _check_history(record)
    _check_metrics(record)
    for name, value in _read_items(record["timings"], "timings"):
        _require(_to_number(value, name) >= 0, name, "seconds of at least 0", value)
    for name, value in _read_items(record["environment"], "environment"):
        _require(isinstance(value, _SCALAR), name, "text, a number, true, false or null", value)
    _check_data(record["data"])


def _check_cell(cell: Any) -> None:
    for key, value in _read_items(cell, "cell"):
        name = key.removeprefix("cell.")
        _require(name in FIELDS, key, "a field of a cell", name)
        form = FIELDS[name].form or name
        expected, is_right = _FORMS[form]
        is_default = value is None and FIELDS[name].default is None and not FIELDS[name].is_required
        _require(is_default or is_right(value), key, expected, value)
    for name, described in FIELDS.items():
        _require(name in cell or not described.is_required, f"cell.{name}", "a value", None)


def _check_history(record: Mapping[str, Any]) -> None:
    columns = dict(_read_items(record["history"], "history"))
    outcome, length = record["outcome"], None
    _require(
        not columns or outcome in ("ok", "diverged"), "history", f"none if {outcome}", [*columns]
    )
    for key, column in columns.items():
        _require(isinstance(column, list), key, "a list of numbers", column)
        length = len(column) if length is None else length
        _require(len(column) == length, key, f"{length} numbers, as in the others", len(column))
        name = key.removeprefix("history.")
        if not _is_plausible_column(column, name):
            for epoch, value in enumerate(column, 1):
                _check_number(value, f"{key} of epoch {epoch}", _name_range(record, name))
    if not _is_own_training(record):
        epochs = record["cell"].get("epochs", FIELDS["epochs"].default)
        _require((length or 0) <= epochs, "history", f"at most {epochs} epochs", length)


def _is_own_training(record: Mapping[str, Any]) -> bool:
    """Whether a user's function has trained, which counts epochs and measures as it likes."""
    return record["cell"].get("trainer") is not None


def _name_range(record: Mapping[str, Any], name: str) -> str:
    """The metric whose range a number must keep; a user's own accuracy may be in percent."""
    return "" if _is_own_training(record) and name != "seconds" else name


def _check_metrics(record: Mapping[str, Any]) -> None:
    outcome, history = record["outcome"], record["history"]
    metrics = dict(_read_items(record["metrics"], "metrics"))
    for key, value in metrics.items():
        _check_number(value, key, _name_range(record, key.removeprefix("metrics.")))
    allowed = {"diverged": {"metrics.epochs"}, "failed": set(), "killed": set()}.get(outcome)
    if allowed is not None:
        _require(
            metrics.keys() <= allowed,
            "metrics",
            f"{'epochs alone' if allowed else 'none'} if {outcome}",
            sorted(metrics),
        )
    else:
        _require(bool(metrics), "metrics", "some if ok", {})
        for key in ("metrics.val_loss", "metrics.test_loss"):
            finite = key not in metrics or math.isfinite(_to_number(metrics[key], key))
            _require(finite, key, "a finite number if ok", metrics.get(key))
    length = max((len(column) for column in history.values()), default=None)
    for name, lowest in (("epochs", 1), ("best_epoch", 1)):
        value = record["metrics"].get(name)
        if value is None:
            continue
        number, highest = _to_number(value, f"metrics.{name}"), length or math.inf
        is_right = number == int(number) and lowest <= number <= highest
        if name == "epochs" and length is not None:
            is_right = number == length
        expected = f"the {length} epochs of the history" if length else "a number of epochs"
        _require(is_right, f"metrics.{name}", expected, value)
    best, losses = record["metrics"].get("best_epoch"), history.get("val_loss")
    if best is not None and losses and "metrics.val_loss" in metrics:
        value, expected = metrics["metrics.val_loss"], losses[int(best) - 1]
        _require(
            value == expected, "metrics.val_loss", f"{expected} as in epoch {int(best)}", value
        )


def _check_data(data: Any) -> None:
    for key, value in _read_items(data, "data"):
        name = key.removeprefix("data.")
        if name in ("fingerprint", "source"):
            _require(isinstance(value, str), key, "text", value)
        elif name in ("canonical", "validation_is_test"):
            _require(isinstance(value, bool), key, "true or false", value)
        elif name.startswith("n_") or name in ("classes", "smallest_class", "largest_class"):
            _require(_is_count(value, 0), key, "a whole number of at least 0", value)
        elif name == "baseline":
            _require(0 <= _to_number(value, key) <= 1, key, "a share from 0 to 1", value)
        elif name == "doubts":
            is_texts = isinstance(value, list) and all(isinstance(text, str) for text in value)
            _require(is_texts, key, "a list of texts", value)
        elif name == "metrics":
            for metric, better in _read_items(value, key):
                _require(better in ("min", "max"), metric, "min or max", better)


def _is_plausible_column(column: list[Any], name: str) -> bool:
    """Whether all numbers are finite and as `_check_number` wants them, told at once."""
    if set(map(type, column)) != {float} or not math.isfinite(sum(column)):
        return False
    is_signed = name not in _SHARES and name not in _LOSSES and name != "seconds"
    return is_signed or (min(column) >= 0 and (name not in _SHARES or max(column) <= 1))


def _check_number(value: Any, key: str, name: str) -> None:
    number = _to_number(value, key)
    if name in _SHARES:
        _require(not (number < 0 or number > 1), key, "a share from 0 to 1", value)
    elif name in _LOSSES or name == "seconds":
        _require(not number < 0, key, "a number of at least 0", value)


def _to_number(value: Any, key: str) -> float:
    if isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    with contextlib.suppress(OverflowError):  # a whole number of hundreds of digits
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    raise _make_error(key, "a number", value)


def _read_items(value: Any, key: str) -> list[tuple[str, Any]]:
    """The items of a JSON object, each with its key from the top."""
    _require(isinstance(value, dict), key, "a JSON object", value)
    return [(f"{key}.{name}", item) for name, item in value.items()]


def _require(condition: bool, key: str, expected: str, received: object) -> None:
    if not condition:
        raise _make_error(key, expected, received)


def _make_error(key: str, expected: str, received: object) -> StoreCorrupt:
    return StoreCorrupt(f"{key}: expected {expected}, received {quote(received)}.")


def _is_spec(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        specs.parse(value)
    except SpecError:
        return False
    return True


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= _MAX_SEED


def _is_number(value: Any, accept: Callable[[float], bool]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    return math.isfinite(number) and accept(number)


def _is_list_of(value: Any, is_right: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(is_right(item) for item in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_POSITIVE = ("a positive number", lambda value: _is_number(value, lambda number: number > 0))
_SEED = (f"a whole number from 0 to {_MAX_SEED}", lambda value: _is_count(value, 0))
_FLAG = ("true or false", lambda value: isinstance(value, bool))
_TEXT = ("text", _is_text)

_FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "spec": ("a spec such as name(option=value)", _is_spec),
    "list of specs": ("a list of specs", lambda value: _is_list_of(value, _is_spec)),
    "model option": (
        "text or a list of texts",
        lambda value: _is_text(value) or _is_list_of(value, _is_text),
    ),
    "positive number": _POSITIVE,
    "positive number or none": _POSITIVE,
    "share": (
        "a share from 0 to below 1",
        lambda value: _is_number(value, lambda number: 0 <= number < 1),
    ),
    "count": ("a whole number of at least 1", lambda value: _is_count(value, 1)),
    "flag": _FLAG,
    "seed": _SEED,
    "protocol": _TEXT,
    "precision": _TEXT,
    # bookkeeping and the root seed, which no study writes
    "replicate": _SEED,
    "tuned": _FLAG,
    "sources": (
        "a list of pairs of texts",
        lambda value: _is_list_of(
            value, lambda pair: _is_list_of(pair, _is_text) and len(pair) == 2
        ),
    ),
}
"""Form of a field, or its name if it has none → what is expected, and whether a value is it."""
