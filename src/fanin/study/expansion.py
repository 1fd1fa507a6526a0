"""The expansion of a study's grids into planned cells, each checked before any work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fanin.cell.cell import FIELDS, Cell
from fanin.cell.fields import Factor
from fanin.cell.plan import PlannedCell
from fanin.errors import FaninError, StudyError
from fanin.study.axes import AxisValue, Exclusion, Grid
from fanin.study.canonical_cell import make_cell
from fanin.study.feasibility import check_fit
from fanin.study.line_numbers import LineNumbers
from fanin.study.trial import try_training

_FIT_FIELDS = tuple(
    name
    for name, described in FIELDS.items()
    if isinstance(described, Factor) and not described.fits_all_data
)
"""What decides whether a cell fits its data: cells that agree in it are checked once."""


@dataclass
class Expansion:
    """The combinations of the values of a study's axes.

    Args:
        study: the study's name, for errors.
        base: what all cells share.
        grids: the axes of each block.
        exclusions: what is left out.
        head: what replaces values of the base and of axes.
        lines: of the study's file.
    """

    study: str
    base: Mapping[str, Any]
    grids: Sequence[Grid]
    exclusions: Sequence[Exclusion]
    head: Mapping[str, Any]
    lines: LineNumbers
    _used: set[int] = field(default_factory=set, init=False)
    """Numbers of the exclusions that left something out."""
    _checked: set[tuple[Any, ...]] = field(default_factory=set, init=False)
    """What fits its data, by the values of `_FIT_FIELDS`."""
    remarks: dict[str, None] = field(default_factory=dict, init=False)
    """What every table must say about conditions, each once, in order."""

    def list_cells(self) -> list[PlannedCell]:
        """All cells that no exclusion leaves out.

        Raises the `FaninError` of a cell that is not possible, with its lines, and `StudyError` for
        an exclusion that leaves nothing out or if nothing is left.
        """
        cells = [
            planned
            for planned in self._iterate_cells()
            if not self._is_excluded(planned.is_selected_by)
        ]
        for number, exclusion in enumerate(self.exclusions):
            if number not in self._used:
                names = (f"{axis} = {' or '.join(names)}" for axis, names in exclusion.items())
                raise StudyError(
                    f"Study {self.study}{self.lines.locate_exclusion(number)}: exclude "
                    f"{', '.join(names)} matches no cell. Use labels or values of the study's axes."
                )
        if not cells:
            raise StudyError(f"Study {self.study} excludes all of its cells.")
        return cells

    def _iterate_cells(self) -> Iterator[PlannedCell]:
        """The cell of every combination.

        An exclusion that names values as they are written applies before the cell is made, because
        the cell may be impossible.
        """
        for number, grid in enumerate(self.grids):
            for choices in itertools.product(*grid.values()):
                values = dict(zip(grid, choices, strict=True))
                if self._is_excluded(partial(_are_named, values)):
                    continue
                labels = {axis: value.label for axis, value in values.items()}
                try:
                    cell = self._make_cell(values)
                except FaninError as error:
                    lines = self.lines.locate_fields(error.about, number, labels)
                    raise error.add_context(f"Study {self.study}{lines}") from None
                yield PlannedCell(cell, labels)

    def _is_excluded(self, applies: Callable[[Exclusion], bool]) -> bool:
        """Whether any exclusion applies; remembers all that do."""
        used = {n for n, exclusion in enumerate(self.exclusions) if applies(exclusion)}
        self._used |= used
        return bool(used)

    def _make_cell(self, values: Mapping[str, AxisValue]) -> Cell:
        axes = {axis: value.value for axis, value in values.items()}
        cell = make_cell({**self.base, **axes, **self.head})
        key = tuple(getattr(cell, name) for name in _FIT_FIELDS)
        if key not in self._checked:
            check_fit(cell)
            self._checked.add(key)
        if remark := try_training(cell):
            self.remarks[remark] = None
        return cell


def _are_named(values: Mapping[str, AxisValue], exclusion: Exclusion) -> bool:
    return all(
        axis in values and values[axis].list_names() & set(names)
        for axis, names in exclusion.items()
    )
