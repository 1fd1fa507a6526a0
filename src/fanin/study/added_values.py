"""Further values of a study's axes, such as one's own initializer beside the built-in ones."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from fanin.cell.cell import FIELDS
from fanin.errors import StudyError, UnknownName, join_names, quote
from fanin.study.axes import AxisValue, Grid
from fanin.study.canonical_cell import check_key

_TEXT_FORMS = ("spec", "list of specs")
_WORDS: dict[str, Any] = {"true": True, "false": False}


def add_values(
    base: Mapping[str, Any], grids: Sequence[Grid], added: Mapping[str, Sequence[AxisValue]]
) -> tuple[dict[str, Any], tuple[Grid, ...]]:
    """The base and the grids with further values behind those of each axis.

    A key of the base becomes an axis of its own value and the further ones.

    Raises `StudyError` for a value that is there already, and `UnknownName` for a key that the
    study does not set.
    """
    kept = dict(base)
    extended = [dict(grid) for grid in grids] or [{}]
    for axis, values in added.items():
        check_key(axis, "axis")
        holders = [grid for grid in extended if axis in grid]
        if not holders:
            if axis not in kept:
                axes = dict.fromkeys(key for grid in extended for key in grid)
                raise UnknownName.suggest("axis or base value of the study", axis, (*axes, *kept))
            value = kept.pop(axis)
            holders = extended
            for grid in extended:
                grid[axis] = (AxisValue(value, str(value)),)
        for grid in holders:
            grid[axis] = _append(axis, grid[axis], values)
    return kept, tuple(extended)


def read_added_value(axis: str, text: str) -> AxisValue:
    """A value as a command line gives it: a spec, or a number, truth value, list or word."""
    field = FIELDS.get(axis)
    if field is not None and field.form in _TEXT_FORMS:
        return AxisValue(text, text)
    value: Any = _WORDS.get(text, text)
    if value is text:
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            value = ast.literal_eval(text)
    plain = isinstance(value, (bool, int, float, str, list))
    return AxisValue(value if plain else text, text)


def _append(
    axis: str, present: Sequence[AxisValue], values: Sequence[AxisValue]
) -> tuple[AxisValue, ...]:
    for value in values:
        if any(value.label == other.label or value.value == other.value for other in present):
            names = join_names(other.label for other in present)
            raise StudyError(f"Axis {axis} has the value {quote(value.label)} already: {names}.")
    return (*present, *values)
