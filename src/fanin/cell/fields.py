"""What each field of a cell is: a factor, a seed or bookkeeping, and how a study writes it.

`fanin.cell.cell.Cell` declares this in the annotation of every field. All lists of fields are
derived from these declarations: what a study may set and how its values become canonical
(`fanin.study.canonical_cell`), the seeds that tuning replaces (`fanin.study.learning_rate_tuning`),
and the columns of tables with their titles (`fanin.analysis.factors`).
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any, Literal

Form = Literal[
    "spec",
    "list of specs",
    "model option",
    "positive number",
    "positive number or none",
    "share",
    "count",
    "flag",
    "seed",
]
"""How a study writes a field. `fanin.study.canonical_cell` has a function for each form."""


@dataclass(frozen=True, kw_only=True)
class CellField:
    """One field of a cell: a `Factor`, a `Seed` or `Bookkeeping`."""

    form: Form | None = None
    """None if neither the base nor the axes of a study can set it."""
    changes_training: bool = True
    """Whether the course of a training depends on it."""
    name: str = ""
    """This and what follows comes from the field; `describe_fields` fills it in."""
    is_required: bool = False
    default: Any = None


@dataclass(frozen=True, kw_only=True)
class Factor(CellField):
    """A field that a study may compare."""

    of: str = ""
    """The kind of registry that makes its specs, such as "optimizer"."""
    column: str = ""
    """Its column in frames; the field's name unless given."""
    needs_title: bool = True
    """Whether tables show a value together with the factor's title, as in ``batch size 32``."""
    fits_all_data: bool = False
    """Whether any value suits any data set, so that `fanin.study.feasibility` does not read it."""

    @property
    def has_none(self) -> bool:
        """Whether "none" is a value, which means that nothing is done.

        The default None of other factors stands for the model's or the rule's own choice.
        """
        return self.form in ("positive number or none", "list of specs")


@dataclass(frozen=True, kw_only=True)
class Seed(CellField):
    """A field that names randomness."""


@dataclass(frozen=True, kw_only=True)
class Bookkeeping(CellField):
    """A field that fanin sets itself, and that is neither compared nor random."""


def describe_fields(cell_type: type) -> dict[str, CellField]:
    """The fields of a cell class by name, in the order of their declaration.

    Raises TypeError for a field whose annotation declares none of the three kinds.
    """
    hints = typing.get_type_hints(cell_type, include_extras=True)
    return {
        field.name: _describe_field(field, getattr(hints[field.name], "__metadata__", ()))
        for field in dataclasses.fields(cell_type)
    }


def _describe_field(field: dataclasses.Field[Any], annotations: tuple[object, ...]) -> CellField:
    declared = next((item for item in annotations if isinstance(item, CellField)), None)
    if declared is None:
        raise TypeError(
            f"{field.name} is no factor, seed or bookkeeping. Annotate it, such as "
            f"{field.name}: Annotated[{field.type}, Factor()]."
        )
    if isinstance(declared, Factor) and not declared.column:
        declared = dataclasses.replace(declared, column=field.name)
    if field.default is dataclasses.MISSING:
        return dataclasses.replace(declared, name=field.name, is_required=True)
    return dataclasses.replace(declared, name=field.name, default=field.default)
