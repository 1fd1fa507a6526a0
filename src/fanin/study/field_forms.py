"""The forms in which a study writes the fields of a cell, each with the value that a cell holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fanin import data, initializers, seeds, specs
from fanin.cell.cell import FIELDS
from fanin.cell.fields import CellField, Factor, Form
from fanin.errors import SpecError, StudyError, quote
from fanin.registry import Registry
from fanin.training import (
    augmentation,
    metrics,
    optimizers,
    schedules,
    user_loss,
    user_trainer,
)


def canonicalize(name: str, value: Any) -> Any:
    """The value of a field as a cell holds it; raises a `FaninError` about that field."""
    field = FIELDS[name]
    if field.form is None:
        return value
    return _FORMS[field.form](value, field)


def check_count(value: Any, what: str) -> int:
    """`value` if it is a positive whole number; raises `StudyError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 10**9:
        raise StudyError(
            f"{what} must be a whole number from 1 to 1,000,000,000, not {quote(value)}."
        )
    return value


def require_text(value: Any, name: str) -> str:
    """`value` if it is text, as a spec is; raises `SpecError` otherwise."""
    if not isinstance(value, str):
        raise SpecError(
            f"{name} must be a name or a spec such as name(key=value), not {quote(value)}. "
            "Your own function is written my_file.py:make."
        )
    return value


def _canonicalize_spec(value: Any, field: CellField) -> str | None:
    if value is None and not field.is_required and field.default is None:
        return None
    return _make_spec(value, field)


def _canonicalize_specs(value: Any, field: CellField) -> tuple[str, ...]:
    """A list, each name once; one spec stands for a list of one, "none" for an empty list."""
    items = [] if value == "none" else [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise SpecError(
            f"{field.name} must be a list of specs such as [name, name(key=value)], or none; not "
            f"{quote(value)}."
        )
    found = tuple(_make_spec(item, field) for item in items)
    if len({specs.parse(spec)[0] for spec in found}) < len(found):
        raise SpecError(f"{field.name} has a name twice: {', '.join(found)}. Leave one out.")
    return found


def _make_spec(value: Any, field: CellField) -> str:
    assert isinstance(field, Factor)
    spec = require_text(value, field.name)
    if field.of == "dataset":
        return data.canonicalize_spec(spec)
    canonical: str = _REGISTRIES[field.of].make(spec).spec
    return canonical


_REGISTRIES: dict[str, Registry[Any, Any]] = {
    registry.kind: registry
    for registry in (
        initializers.REGISTRY,
        optimizers.REGISTRY,
        schedules.REGISTRY,
        augmentation.REGISTRY,
        metrics.REGISTRY,
        user_loss.REGISTRY,
        user_trainer.REGISTRY,
    )
}
"""`Factor.of` → the registry that makes components from the specs."""


def _canonicalize_count(value: Any, field: CellField) -> int:
    return check_count(value, field.name)


def _canonicalize_positive(value: Any, field: CellField) -> float:
    if not _is_number(value) or not 0 < value < math.inf:
        raise SpecError(f"{field.name} must be a positive number, not {quote(value)}.")
    return float(value)


def _canonicalize_positive_or_none(value: Any, field: CellField) -> float | None:
    if value is None or value == "none":
        return None
    if not _is_number(value) or not 0 < value < math.inf:
        raise StudyError(f"{field.name} must be a positive number, or none; not {quote(value)}.")
    return float(value)


def _canonicalize_share(value: Any, field: CellField) -> float:
    if not _is_number(value) or not 0 <= value < 1:
        raise StudyError(
            f"{field.name} must be a number of at least 0 and below 1, not {quote(value)}."
        )
    return float(value)


def _canonicalize_flag(value: Any, field: CellField) -> bool:
    if not isinstance(value, bool):
        raise StudyError(f"{field.name} must be true or false, not {quote(value)}.")
    return value


def _canonicalize_seed(value: Any, field: CellField) -> int | None:
    return None if value is None else seeds.check_seed(value, field.name)


def _keep_model_option(value: Any, field: CellField) -> Any:
    """The model has checked it (`fanin.study.canonical_cell`)."""
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_FORMS: dict[Form, Callable[[Any, CellField], Any]] = {
    "spec": _canonicalize_spec,
    "list of specs": _canonicalize_specs,
    "model option": _keep_model_option,
    "positive number": _canonicalize_positive,
    "positive number or none": _canonicalize_positive_or_none,
    "share": _canonicalize_share,
    "count": _canonicalize_count,
    "flag": _canonicalize_flag,
    "seed": _canonicalize_seed,
}
