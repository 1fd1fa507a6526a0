"""Factors: what varies from cell to cell, and what tables call each of its values.

A factor is a field of the cell. An option of a field that is an axis of the study, such as
``model.depth``, is a factor of its own; the field is then shown without it.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fanin import specs
from fanin.cell.cell import FIELDS
from fanin.cell.fields import Factor, Seed

if TYPE_CHECKING:
    from fanin.cell.plan import Plan, PlannedCell

_BY_COLUMN: dict[str, Factor] = {
    field.column: field for field in FIELDS.values() if isinstance(field, Factor)
}
"""Column → the cell's factor, in the order in which people read them."""

LEADING = (
    "model",
    "data",
    "activation",
    "optimizer",
    "learning_rate",
    "batch_size",
    "max_epochs",
    "protocol",
    "precision",
    "initializer",
)
"""The factors whose columns are the first of a frame. Others follow at its end, so that a new
factor moves no column of an exported file.
"""

FACTORS: dict[str, str] = {
    column: _BY_COLUMN[column].name for column in dict.fromkeys((*LEADING, *_BY_COLUMN))
}
"""Column → the cell's field. Cells that agree in all of these differ in their randomness only: they
are replicates.
"""

_COLUMNS = {field: column for column, field in FACTORS.items()}

SEEDS = tuple(name for name, field in FIELDS.items() if isinstance(field, Seed))
"""The cell's fields that name its randomness. They are columns, but no factors."""

_SPELT_OUT = {
    "test_mae": "test MAE",
    "val_mae": "validation MAE",
    "mae": "MAE",
    "val_accuracy": "val accuracy",
}

Levels = Mapping[str, Any]
"""Factor → its value in one condition."""

Names = Mapping[tuple[str, Any], Any]

_read_factors = operator.attrgetter(*FACTORS.values())


def list_option_axes(plan: Plan) -> tuple[str, ...]:
    """The axes of a plan that are options of a field, such as ``model.depth``."""
    return tuple(
        dict.fromkeys(axis for planned in plan.cells for axis in planned.labels if "." in axis)
    )


def read_levels(planned: PlannedCell, dotted: Iterable[str]) -> dict[str, Any]:
    """Factor → the cell's value. Options that are axes are taken out of their specs."""
    cell = planned.cell
    found: dict[str, Any] = {}
    for column, field in FACTORS.items():
        value = getattr(cell, field)
        # None means the model's own value; the axis' label says what that is, if there is one.
        found[column] = planned.labels.get(field) if value is None else value
    for axis in dotted:
        field, _, option = axis.partition(".")
        head, value = _COLUMNS[field], None
        if found[head] is not None:  # a cell of another grid may lack the field
            found[head], value = _take_option_out(found[head], option)
        # A spec leaves out an option that equals its default; only its label is known then.
        found[axis] = planned.labels.get(axis) if value is None else value
    return found


@lru_cache(maxsize=10_000)
def _take_option_out(spec: str, option: str) -> tuple[str, Any]:
    """The spec without an option, and the option's value; None if the spec leaves it out."""
    name, options = specs.parse(spec)
    value = options.pop(option, None)
    return specs.render(name, options), value


def identify_levels(planned: PlannedCell) -> Hashable:
    """What `read_levels` depends on: the same for the replicates of a condition."""
    return _read_factors(planned.cell), tuple(planned.labels.items())


def name_levels(plan: Plan) -> Names:
    """(factor, the cell's value) → what tables show for it: its label, or the value itself.

    Different cells must never look like replicates of one another: a label of several values is
    shown together with the value, and a value with several labels is shown itself. So is a value
    whose label is another way to write it (``1`` for 1.0), so that columns of numbers hold numbers.
    """
    dotted = list_option_axes(plan)
    labels: defaultdict[tuple[str, Any], dict[str, None]] = defaultdict(dict)
    # Replicates of a condition have the same levels.
    for planned in {identify_levels(planned): planned for planned in plan.cells}.values():
        for column, value in read_levels(planned, dotted).items():
            labels[column, value][
                planned.labels.get(FACTORS.get(column, column), str(_to_plain(column, value)))
            ] = None
    meanings: defaultdict[tuple[str, str], int] = defaultdict(int)
    for (column, _), given in labels.items():
        for label in given:
            meanings[column, label] += 1
    return {
        key: _choose_name(key[0], key[1], list(given), meanings) for key, given in labels.items()
    }


def name_factors(plan: Plan) -> list[Levels]:
    """What tables show of each planned cell: the values of its factors, options included."""
    names, dotted = name_levels(plan), list_option_axes(plan)
    return [
        {column: names[column, value] for column, value in read_levels(planned, dotted).items()}
        for planned in plan.cells
    ]


def sort_for_reading(columns: Iterable[str]) -> tuple[str, ...]:
    """Factors in the order in which people read them: model and data, their options, the rest, the
    initializer last.
    """
    names, order = list(columns), list(_BY_COLUMN)
    dotted = [name for name in names if "." in name]

    def place(name: str) -> tuple[int, int, int]:
        field = name.partition(".")[0]
        if name in dotted:
            at = order.index(_COLUMNS[field])
            return (max(at, 1), 1, dotted.index(name))
        return (order.index(name), 0, 0)

    return tuple(sorted(names, key=place))


def format_title(name: str, among: Iterable[str] = ()) -> str:
    """The name of a factor or metric in words.

    For an option such as ``model.depth``, its last part, unless another factor ends in it too.
    """
    if name in _SPELT_OUT:
        return _SPELT_OUT[name]
    head, _, option = name.partition(".")
    shared = option and any(other != name and other.partition(".")[2] == option for other in among)
    return (name if shared else option or head).replace("_", " ")


def format_value(value: Any) -> str:
    """A factor's value in words."""
    value = to_python_scalar(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value) or "default"


def needs_title(name: str) -> bool:
    """Whether a value of this factor is understood only together with the factor's title: ``depth
    16``.
    """
    return name not in _BY_COLUMN or _BY_COLUMN[name].needs_title


def is_number(value: Any) -> bool:
    """Whether a factor's value is a number, not a word or a truth value."""
    value = to_python_scalar(value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def to_python_scalar(value: Any) -> Any:
    """The Python value of a numpy scalar; any other value unchanged."""
    return value.item() if hasattr(value, "item") else value


def _choose_name(
    column: str, value: Any, labels: list[str], meanings: Mapping[tuple[str, str], int]
) -> Any:
    plain = _to_plain(column, value)
    if len(labels) > 1 or _is_same(labels[0], plain):
        return _to_number(plain) if "." in column else plain
    label = _to_number(labels[0]) if "." in column else labels[0]
    return label if meanings[column, labels[0]] == 1 else f"{label} = {plain}"


def _is_same(label: str, plain: Any) -> bool:
    if label == str(plain):
        return True
    return is_number(plain) and _to_number(label) == plain


def _to_number(text: Any) -> Any:
    """The finite number that a text spells; anything else unchanged."""
    if not isinstance(text, str):
        return text
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            number = kind(text)
            return number if math.isfinite(number) else text
    return text


def _to_plain(column: str, value: Any) -> Any:
    if column in _BY_COLUMN and _BY_COLUMN[column].has_none and not value:
        return "none"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return "" if value is None else value
