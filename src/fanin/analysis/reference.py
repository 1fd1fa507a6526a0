"""The reference of a comparison: the compared value that all others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fanin.analysis.factors import format_value
from fanin.errors import UnknownName

if TYPE_CHECKING:
    from fanin.analysis.cell_table import CellTable
    from fanin.analysis.design import Design

USUAL = (
    "he_normal",
    "he_uniform",
    "xavier_uniform",
    "xavier_normal",
    "none",
    "adam",
    "relu",
)
"""What a study compares with if it names nothing: the first of these that it holds, by the name
before any option, else its first value. The choice does not look at results.
"""


def choose_reference(names: Sequence[str]) -> str:
    """The value to compare with if nobody has said which: see `USUAL`."""
    heads: dict[str, str] = {}
    for name in names:
        heads.setdefault(name.partition("(")[0], name)
    return next((heads[head] for head in USUAL if head in heads), names[0])


def check_reference(table: CellTable, design: Design, reference: str) -> str:
    """A reference that a section compares; raises `UnknownName` for any other."""
    values = {format_value(levels[design.compared]) for levels in table.conditions}
    if reference in values:
        return reference
    compared = design.format_title(design.compared)
    raise UnknownName.suggest(f"{compared} of this study", reference, sorted(values))
