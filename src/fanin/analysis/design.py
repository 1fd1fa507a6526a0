"""Design: which factor of a frame is compared, and within what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.analysis.factors import format_title, format_value, is_number, needs_title
from fanin.cell.cell import OWN

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.cell_table import CellTable

# A metric on other data, by another protocol, is another quantity.
_INCOMPARABLE = {"data", "protocol", "metrics"}


@dataclass(frozen=True)
class Design:
    """Which factor of a frame is compared, within sections of conditions that agree otherwise.

    If the initializer varies, it is compared. Otherwise it is the factor with the most values side
    by side, words before numbers. If nothing comparable varies, each section has one row.
    """

    factors: tuple[str, ...]
    """All of them, model and data first, the initializer last."""
    varying: tuple[str, ...]
    """Those with more than one value."""
    compared: str
    section: tuple[str, ...]
    """The factors that agree within a section: all but the compared one and a tuned rate."""
    tuned: bool
    """Whether each condition has a learning rate of its own, which then is not a factor."""
    pairing: tuple[str, ...]
    """What two rows of a section must share to be a pair, which then saw the same batches, masks
    and normal draws.
    """
    nameless: tuple[str, ...] = ()
    """Model and data, if the user's own training gives them no name."""

    @property
    def headings(self) -> tuple[str, ...]:
        """The factors that name a section: model and data unless compared, and others that vary."""
        return tuple(
            name
            for name in self.section
            if (name in ("model", "data") and name not in self.nameless) or name in self.varying
        )

    @property
    def further(self) -> tuple[str, ...]:
        """The factors that vary between sections, besides model and data."""
        return tuple(name for name in self.headings if name not in ("model", "data"))

    def name_section(self, key: Sequence[Any], names: Sequence[str] | None = None) -> str:
        """A section's name, from its values of all `headings`, or of the factors `names` only."""
        values = dict(zip(self.section, key, strict=True))
        return self.join_values(
            {name: values[name] for name in (self.headings if names is None else names)}
        )

    def join_values(self, values: Mapping[str, Any]) -> str:
        """Factor values joined into one name, without those that a cell does not have."""
        words = [
            self.name_value(name, value)
            for name, value in values.items()
            if value != "" or name in ("model", "data")
        ]
        return " · ".join(words) or ("default" if values else "")

    def name_value(self, name: str, value: Any) -> str:
        """A factor's value as text that stands alone: ``relu``, ``depth 16``."""
        return (
            f"{self.format_title(name)} {format_value(value)}"
            if needs_title(name)
            else format_value(value)
        )

    def format_title(self, name: str) -> str:
        """A factor's name in words."""
        return format_title(name, self.factors)


def infer_design(table: CellTable) -> Design:
    """The design of a plan's cells."""
    factors = table.factors
    varying = [name for name in factors if len(_list_values(table, name)) > 1]
    tuned = "learning_rate" in varying and _count_side_by_side(table, "learning_rate", varying) == 1
    conditions = [name for name in varying if not (tuned and name == "learning_rate")]
    compared = _choose_compared(table, conditions)
    section = tuple(
        name for name in factors if name != compared and not (tuned and name == "learning_rate")
    )
    pairing = ("replicate", *table.varying_seeds)
    nameless = tuple(name for name in ("model", "data") if _list_values(table, name) == {OWN})
    return Design(factors, tuple(varying), compared, section, tuned, pairing, nameless)


def split_sections(
    frame: pd.DataFrame, design: Design
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield (values of `Design.section`, rows) of each section, in the plan's order."""
    return group_rows(frame, design.section)


def group_rows(
    frame: pd.DataFrame, keys: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield (values, rows) of each combination of the keys' values, in order of appearance.

    Without keys, yields all rows once.
    """
    if not keys:
        yield (), frame
        return
    yield from frame.groupby(list(keys), sort=False, dropna=False)


def is_numeric(frame: pd.DataFrame, name: str) -> bool:
    """Whether all values of a factor are numbers, ignoring cells that do not have it."""
    return _are_numbers(frame[name].unique())


def _are_numbers(values: Iterable[Any]) -> bool:
    found = [value for value in values if not isinstance(value, str) or value]
    return bool(found) and all(map(is_number, found))


def _list_values(table: CellTable, name: str) -> set[Any]:
    return {levels[name] for levels in table.conditions}


def _choose_compared(table: CellTable, conditions: Sequence[str]) -> str:
    candidates = [
        name for name in conditions if name not in _INCOMPARABLE and not name.startswith("data.")
    ]
    counts = {name: _count_side_by_side(table, name, conditions) for name in candidates}
    found = [name for name in candidates if counts[name] > 1]
    if "initializer" in found or not found:
        return "initializer"
    return max(found, key=lambda name: (not _are_numbers(_list_values(table, name)), counts[name]))


def _count_side_by_side(table: CellTable, name: str, varying: Sequence[str]) -> int:
    """The most values of a factor among cells that agree in the other varying ones."""
    others = [other for other in varying if other != name]
    values = defaultdict[tuple[Any, ...], set[Any]](set)
    for levels in table.conditions:
        values[tuple(levels[other] for other in others)].add(levels[name])
    return max(map(len, values.values()))
