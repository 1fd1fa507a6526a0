"""The axes of a study: the values that factors take, read from the tables of a study file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fanin.errors import FaninError, StudyError, UnknownName, quote
from fanin.study.canonical_cell import check_key
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.study.study_file import StudyDocument, TuneTable
from fanin.study.study_metric import tune_by

MAX_LABEL = 80


@dataclass(frozen=True)
class AxisValue:
    """One value of an axis and the label that tables show for it."""

    value: Any
    label: str

    def list_names(self) -> set[str]:
        """What an exclusion may call it: its label, the value as written, or the name in a spec."""
        names = {self.label, str(self.value)}
        return names | {self.value.partition("(")[0]} if isinstance(self.value, str) else names


Grid = Mapping[str, tuple[AxisValue, ...]]
"""Axis → its values."""

Exclusion = Mapping[str, tuple[str, ...]]
"""Axis → labels, values or names; cells that have one of them on every axis are left out."""


def read_base(document: StudyDocument) -> dict[str, Any]:
    """The block [base]: what all cells share."""
    return _read_table(document, document.tables.base, "base")


def read_grids(document: StudyDocument) -> tuple[Grid, ...]:
    """The blocks [[grid]], each with those shared [axes] that it does not set itself."""
    shared = _read_axes(document, document.tables.axes, "axes")
    grids = []
    for number, table in enumerate(document.tables.grid or [{}]):
        own = _read_axes(document, table, "grid", number)
        grids.append({**own, **{axis: shared[axis] for axis in shared if axis not in own}})
    return tuple(grids)


def read_exclusions(document: StudyDocument) -> tuple[Exclusion, ...]:
    """The blocks [[exclude]]."""
    exclusions = []
    for number, table in enumerate(document.tables.exclude):
        if not table:
            raise StudyError(
                f"{document.locate('exclude', '', number)}: [[exclude]] is empty; name the values "
                "of an axis."
            )
        exclusions.append(_read_names(document, table, "exclude", number))
    return tuple(exclusions)


def read_tuning(document: StudyDocument, grids: tuple[Grid, ...]) -> LearningRateTuning | None:
    """The block [tune]; None if there is none."""
    tune = document.tables.tune
    if tune is None:
        return None
    _check_tuned_axes(document, tune, dict.fromkeys(axis for grid in grids for axis in grid))
    at = _read_names(document, tune.at, "tune") if tune.at else {}
    try:
        tuning = LearningRateTuning(
            tuple(tune.learning_rate),
            tune.replicates,
            tuple(tune.per),
            at,
            tune.metric,
            tune.better,
            tune.beside,
            tune.beside if tune.equal_budgets is None else tune.equal_budgets,
        )
    except StudyError as error:
        raise error.add_context(document.locate("tune", "learning_rate")) from None
    chosen = document.tables.metric if tune.metric == LearningRateTuning.metric else ""
    return tune_by(tuning, chosen)


def write_tuning(tuning: LearningRateTuning) -> TuneTable:
    """The block [tune] that `read_tuning` reads as an equal tuning."""
    return TuneTable(
        learning_rate=list(tuning.rates),
        replicates=tuning.replicates,
        per=list(tuning.per),
        at={axis: list(values) for axis, values in tuning.at.items()},
        metric=tuning.metric,
        better=tuning.better,
        beside=tuning.beside,
        equal_budgets=tuning.equal_budgets,
    )


def _check_tuned_axes(document: StudyDocument, tune: TuneTable, axes: Mapping[str, None]) -> None:
    for key in (*tune.per, *dict(_flatten(tune.at))):
        if key not in axes:
            raise UnknownName.suggest("axis of the study", key, axes).add_context(
                document.locate("tune", "per")
            )
    if "learning_rate" in axes:
        raise StudyError(
            f"{document.locate('tune', 'learning_rate')}: the learning rate is an axis already. "
            "Leave out one."
        )
    if "learning_rate" in document.tables.base and not tune.beside:
        raise StudyError(
            f"{document.locate('base', 'learning_rate')}: the learning rate is tuned, and given "
            "here too. Leave out one, or write beside = true in [tune] to train both side by side."
        )


def _read_table(
    document: StudyDocument, table: Mapping[str, Any], name: str, number: int = 0
) -> dict[str, Any]:
    """The keys of a table and their values, with ``model.depth`` as one key."""
    values = dict(_flatten(table))
    for key in values:
        try:
            check_key(key, "key of [base], [axes] or [[grid]]")
        except FaninError as error:
            raise error.add_context(document.locate(name, key, number)) from None
    return values


def _read_names(
    document: StudyDocument, table: Mapping[str, Any], name: str, number: int = 0
) -> dict[str, tuple[str, ...]]:
    """Axis → labels, values or names, each as text."""
    return {
        axis: tuple(map(_to_text, value if isinstance(value, list) else [value]))
        for axis, value in _read_table(document, table, name, number).items()
    }


def _read_axes(
    document: StudyDocument, table: Mapping[str, Any], name: str, number: int = 0
) -> dict[str, tuple[AxisValue, ...]]:
    axes = {}
    for axis, values in _read_table(document, table, name, number).items():
        where = document.locate(name, axis, number)
        if not isinstance(values, list):
            raise StudyError(
                f"{where}: {name}.{axis} must be a list, such as [{quote(values)}]; received "
                f"{quote(values)}."
            )
        axes[axis] = _read_axis(where, axis, values)
    return axes


def _read_axis(where: str, axis: str, values: list[Any]) -> tuple[AxisValue, ...]:
    if not values:
        raise StudyError(f"{where}: axis {axis} is empty; give at least one value.")
    found = tuple(_read_value(where, axis, value) for value in values)
    first: dict[str, AxisValue] = {}
    for value in found:  # equal values have equal labels
        other = first.setdefault(value.label, value)
        if other is value:
            continue
        if other == value:
            raise StudyError(
                f"{where}: axis {axis} lists a value twice, and with it the same cell twice. "
                "Remove one."
            )
        raise StudyError(
            f"{where}: two values of axis {axis} are called {quote(value.label)}. Give each a "
            "label of its own."
        )
    return found


def _read_value(where: str, axis: str, value: Any) -> AxisValue:
    if isinstance(value, AxisValue):  # of a study that was made in Python
        return value
    if not isinstance(value, dict):
        return AxisValue(value, _to_text(value))
    label, use = value.get("label"), value.get("use")
    if set(value) != {"label", "use"} or not isinstance(label, str) or isinstance(use, dict):
        raise StudyError(
            f'{where}: write a value of axis {axis} with a label as {{ label = "name", use = value '
            f"}}, not {quote(value)}."
        )
    if not label.isprintable() or not 0 < len(label) <= MAX_LABEL:
        raise StudyError(
            f"{where}: a label has 1 to {MAX_LABEL} printable characters, not {quote(label)}."
        )
    return AxisValue(use, label)


def _flatten(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Key and value; TOML reads ``model.depth = 3`` as a table in a table."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{option}", item) for option, item in value.items())
        else:
            yield key, value


def _to_text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
