"""Study: a base cell and axes, and its expansion into a plan of cells."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fanin import seeds
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.protocol import REGISTRY as PROTOCOLS
from fanin.errors import FaninError, StudyError, UnknownName
from fanin.study.canonical_cell import check_count, check_key, make_cell
from fanin.study.feasibility import check_fit
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.study.line_numbers import LineNumbers
from fanin.study.resolved_study import to_toml

MAX_CELLS = 100_000


@dataclass(frozen=True)
class AxisValue:
    """One value of an axis and the label that tables show for it."""

    value: Any
    label: str


Grid = Mapping[str, tuple[AxisValue, ...]]
Exclusion = Mapping[str, tuple[str, ...]]
"""Axis → labels, values or names; a cell that has one of them on every axis is left out."""


@dataclass(frozen=True)
class Study:
    """A question and the grid of cells that answers it.

    `base` holds what all cells share, `grids` one mapping of axes per block of the file, the shared
    axes folded in. Keys are fields of a cell, or options of one such as ``model.depth``.
    """

    name: str
    question: str
    base: Mapping[str, Any]
    grids: tuple[Grid, ...]
    protocol: str = "sound"
    replicates: int = 1
    seed: int = 0
    notes: tuple[str, ...] = ()
    exclude: tuple[Exclusion, ...] = ()
    tuning: LearningRateTuning | None = None
    """How the learning rate of each condition is chosen before the evaluation; None where it is
    fixed, or an axis.
    """
    time: str = ""
    """About how long it takes, in words: measured where a built-in study says it."""
    places: LineNumbers = field(default_factory=LineNumbers, compare=False, repr=False)

    @staticmethod
    def load(name_or_path: str) -> Study:
        """A built-in study by name, or one from a TOML file; see `fanin.study.study_file.load`."""
        from fanin.study.study_file import load

        return load(name_or_path)

    def plan(
        self,
        *,
        replicates: int | None = None,
        only: Mapping[str, Sequence[str]] | None = None,
        max_epochs: int | None = None,
    ) -> Plan:
        """Expand into cells, replicate by replicate and block by block, so that whole comparisons
        finish early.

        Args:
            replicates: instead of the study's own number.
            only: axis name → labels or values; cells that match none of an axis' are left out.
            max_epochs: instead of the cells' own number of epochs; such cells are other cells.

        Raises `StudyError` for a grid too large, an `only` that nothing matches, and cells that
        cannot be, and `FitError` for a model that does not fit its data; all before any work.
        """
        count = check_count(self.replicates if replicates is None else replicates, "replicates")
        total = count * sum(
            math.prod(len(choices) for choices in grid.values()) for grid in self.grids
        )
        if total > MAX_CELLS:
            raise StudyError(
                f"Study {self.name} has {total:,} cells; at most {MAX_CELLS:,} can be planned. "
                "Split it, or use fewer values."
            )
        head = {"protocol": PROTOCOLS.get(self.protocol).name, "seed": seeds.check_seed(self.seed)}
        limit = {} if max_epochs is None else {"epochs": check_count(max_epochs, "max_epochs")}
        for axis in only or {}:
            check_key(axis, "axis")
        kept = [p for p in self._included(head | limit) if p.is_selected_by(only or {})]
        if only:
            _require_matches(self, only, kept)
        cells = tuple(
            PlannedCell(replace(planned.cell, replicate=replicate), planned.labels)
            for replicate in range(count)
            for planned in kept
        )
        if twice := [
            cell for cell, times in Counter(planned.cell for planned in kept).items() if times > 1
        ]:
            raise StudyError(
                f"Study {self.name} lists the same cell twice ({twice[0].model} on "
                f"{twice[0].data}, {twice[0].initializer}): "
                f"two values of an axis mean the same. Remove one."
            )
        return Plan(
            study=self.name,
            question=" ".join(self.question.split()),
            protocol=self.protocol,
            cells=cells,
            notes=self._notes(),
            study_toml=to_toml(
                self.overridden(replicates=replicates, max_epochs=max_epochs), only=only
            ),
        )

    def overridden(self, *, replicates: int | None = None, max_epochs: int | None = None) -> Study:
        """The study with another number of replicates, or of epochs in all of its cells."""
        study = self if replicates is None else replace(self, replicates=replicates)
        if max_epochs is None:
            return study
        grids = tuple(
            {axis: choices for axis, choices in grid.items() if axis != "epochs"}
            for grid in self.grids
        )
        return replace(study, base={**self.base, "epochs": max_epochs}, grids=grids)

    def _included(self, head: Mapping[str, Any]) -> list[PlannedCell]:
        used: set[int] = set()
        kept = []
        for planned in self._combinations(head, used):
            excluding = {
                number
                for number, exclusion in enumerate(self.exclude)
                if planned.is_selected_by(exclusion)
            }
            used |= excluding
            kept += [] if excluding else [planned]
        for number, exclusion in enumerate(self.exclude):
            if number not in used:
                words = ", ".join(
                    f"{axis} = {' or '.join(wanted)}" for axis, wanted in exclusion.items()
                )
                raise StudyError(
                    f"Study {self.name}{self.places.of_exclusion(number)}: exclude {words} matches "
                    "no cell. Use labels or "
                    f"values of the study's axes."
                )
        if not kept:
            raise StudyError(f"Study {self.name} excludes all of its cells.")
        return kept

    def _combinations(self, head: Mapping[str, Any], used: set[int]) -> Iterator[PlannedCell]:
        """Every combination of the axes' values but those that an exclusion names as they are
        written: they may be impossible.

        `used` gets the numbers of those exclusions.
        """
        fitted: set[tuple[Any, ...]] = set()
        for number, grid in enumerate(self.grids):
            for choices in itertools.product(*grid.values()):
                chosen = dict(zip(grid, choices, strict=True))
                if excluding := {
                    n for n, exclusion in enumerate(self.exclude) if _names(chosen, exclusion)
                }:
                    used |= excluding
                    continue
                values = {
                    **self.base,
                    **{axis: choice.value for axis, choice in chosen.items()},
                    **head,
                }
                try:
                    cell = make_cell(values)
                    key = _what_must_fit(cell)
                    if key not in fitted:
                        check_fit(cell)
                        fitted.add(key)
                except FaninError as error:
                    labels = {axis: choice.label for axis, choice in chosen.items()}
                    raise error.add_context(
                        f"Study {self.name}{self.places.of_fields(error.about, number, labels)}"
                    ) from None
                yield PlannedCell(cell, {axis: choice.label for axis, choice in chosen.items()})

    def _notes(self) -> tuple[str, ...]:
        flaw = PROTOCOLS.get(self.protocol).flaw
        varied = any("learning_rate" in grid for grid in self.grids)
        fixed = (
            ()
            if varied or self.tuning
            else ("the learning rate is fixed, not tuned per initializer",)
        )
        return tuple(note for note in (flaw, *fixed, *self.notes) if note)


def _names(chosen: Mapping[str, AxisValue], exclusion: Exclusion) -> bool:
    """Whether an exclusion names these values by their labels, as written, or by the name in a
    spec.
    """

    def called(choice: AxisValue) -> set[str]:
        plain = {choice.label, str(choice.value)}
        return plain | (
            {choice.value.partition("(")[0]} if isinstance(choice.value, str) else set()
        )

    return all(
        axis in chosen and called(chosen[axis]) & set(wanted) for axis, wanted in exclusion.items()
    )


def _what_must_fit(cell: Cell) -> tuple[Any, ...]:
    """What `check_fit` looks at: cells that agree in it are checked once."""
    network = (cell.data, cell.model, cell.activation, cell.normalization)
    return (*network, cell.batch_size, cell.augmentation, cell.label_smoothing, cell.metrics)


def _require_matches(
    study: Study, only: Mapping[str, Sequence[str]], kept: Sequence[PlannedCell]
) -> None:
    """Every value asked for must have kept something, or the user misspelt it."""
    for axis, wanted in only.items():
        for name in wanted:
            if not any(name in planned.list_names(axis) for planned in kept):
                labels = {choice.label for grid in study.grids for choice in grid.get(axis, ())}
                raise UnknownName.suggest(
                    f"value of axis {axis} (together with the rest of --only)", name, labels
                )
