"""Study: a base cell and axes, and its expansion into a plan of cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanin import data, initializers, models, seeds, specs
from fanin.errors import FaninError, SpecError, StudyError, shown, unknown
from fanin.models import Model
from fanin.study import optimizers
from fanin.study.cell import Cell
from fanin.study.plan import Plan, PlannedCell
from fanin.study.protocol import PROTOCOLS

MAX_CELLS = 100_000

# What an axis or a base may set: every field of a cell but those that the study's head sets.
_COUNTS = ("batch_size", "epochs")
_SEEDS = ("init_seed", "order_seed", "dropout_seed", "split_seed")
AXES = ("data", "model", "initializer", "activation", "optimizer", "learning_rate", *_COUNTS, *_SEEDS, "shared_stream")


@dataclass(frozen=True)
class Choice:
    """One value of an axis and the label that tables show for it."""

    value: Any
    label: str


@dataclass(frozen=True)
class Study:
    """A question and the grid of cells that answers it.

    `base` holds what all cells share, `grids` one mapping of axes per block of the file, the shared axes folded in.
    """

    name: str
    question: str
    base: Mapping[str, Any]
    grids: tuple[Mapping[str, tuple[Choice, ...]], ...]
    protocol: str = "sound"
    replicates: int = 1
    seed: int = 0
    notes: tuple[str, ...] = ()

    @staticmethod
    def load(name_or_path: str) -> Study:
        """A built-in study by name, or one from a TOML file; see `fanin.study.files.load`."""
        from fanin.study.files import load

        return load(name_or_path)

    def plan(
        self,
        *,
        replicates: int | None = None,
        only: Mapping[str, Sequence[str]] | None = None,
        max_epochs: int | None = None,
    ) -> Plan:
        """Expand into cells, replicate by replicate and block by block, so that whole comparisons finish early.

        Args:
            replicates: instead of the study's own number.
            only: axis name → labels or values; cells that match none of an axis' are left out.
            max_epochs: instead of the cells' own number of epochs; such cells are other cells.

        Raises `StudyError` for a grid too large, an `only` that nothing matches, and cells that cannot be, and `FitError` for a
        model that does not fit its data; all before any work.
        """
        count = _positive(self.replicates if replicates is None else replicates, "replicates")
        total = count * sum(math.prod(len(choices) for choices in grid.values()) for grid in self.grids)
        if total > MAX_CELLS:
            raise StudyError(
                f"Study {self.name} has {total:,} cells; at most {MAX_CELLS:,} can be planned. Split it, or use fewer values."
            )
        head = {"protocol": PROTOCOLS.get(self.protocol).name, "seed": seeds.check_seed(self.seed)}
        limit = {} if max_epochs is None else {"epochs": _positive(max_epochs, "max_epochs")}
        kept = [p for p in self._combinations(head, limit) if _matches(p, only or {})]
        if only:
            _require_matches(self, only, kept)
        cells = tuple(
            PlannedCell(replace(planned.cell, replicate=replicate), planned.labels)
            for replicate in range(count)
            for planned in kept
        )
        if len({planned.cell.id for planned in cells}) < len(cells):
            raise StudyError(f"Study {self.name} lists the same cell twice: two values of an axis mean the same. Remove one.")
        return Plan(study=self.name, question=self.question, protocol=self.protocol, cells=cells, notes=self._notes())

    def _combinations(self, head: Mapping[str, Any], limit: Mapping[str, Any]) -> Iterator[PlannedCell]:
        fitted: set[tuple[str, str, Any]] = set()
        for grid in self.grids:
            for choices in itertools.product(*grid.values()):
                chosen = dict(zip(grid, choices, strict=True))
                values = {**self.base, **{axis: choice.value for axis, choice in chosen.items()}, **head, **limit}
                cell = make_cell(values)
                if (cell.data, cell.model, cell.activation) not in fitted:
                    check_fit(cell)
                    fitted.add((cell.data, cell.model, cell.activation))
                yield PlannedCell(cell, {axis: choice.label for axis, choice in chosen.items()})

    def _notes(self) -> tuple[str, ...]:
        flaw = PROTOCOLS.get(self.protocol).flaw
        tuned = any("learning_rate" in grid for grid in self.grids)
        fixed = () if tuned else ("the learning rate is fixed, not tuned per initializer",)
        return tuple(note for note in (flaw, *fixed, *self.notes) if note)


def make_cell(values: Mapping[str, Any]) -> Cell:
    """The canonical cell of field values as a user writes them.

    Specs are checked and their defaults left out; an activation among the model's options and a learning rate among the
    optimizer's move to the cell's own fields, so that each fact stands in one place.
    """
    fields = dict(values)
    missing = [key for key in ("data", "model", "initializer") if key not in fields]
    if missing:
        raise StudyError(f"A cell needs {' and '.join(missing)}; it has {', '.join(sorted(fields)) or 'nothing'}.")
    fields["initializer"] = initializers.get(_text(fields, "initializer")).spec
    fields["model"], fields["activation"] = _canonical_model(_text(fields, "model"), fields.get("activation"))
    fields["optimizer"], rate = _canonical_optimizer(_text(fields, "optimizer", "adam"), fields.get("learning_rate"))
    fields["learning_rate"] = rate
    if fields["data"] not in data.names():
        data.describe(_text(fields, "data"))
    for key in _COUNTS:
        if key in fields:
            fields[key] = _positive(fields[key], key)
    for key in _SEEDS:
        if fields.get(key) is not None:
            fields[key] = seeds.check_seed(fields[key], key)
    if not isinstance(fields.get("shared_stream", False), bool):
        raise StudyError(f"shared_stream must be true or false, not {shown(fields['shared_stream'])}.")
    return Cell(**fields)


def model_of(cell: Cell) -> Model:
    """The model of a cell, its activation folded back into its options."""
    return models.get(cell.model, cell.activation)


def check_fit(cell: Cell) -> None:
    """Raise a `FitError` that names model and data if the cell's model does not fit its data."""
    info = data.describe(cell.data)
    try:
        model_of(cell).check(info.input_shape, info.outputs, info.task, vocabulary=info.vocabulary)
    except FaninError as error:
        raise type(error)(f"{cell.model} on {cell.data}: {error}") from None
    n_train = info.n_train - round(info.n_train * PROTOCOLS.get(cell.protocol).holdout)
    if cell.batch_size > n_train:
        raise StudyError(f"{cell.data} trains on {n_train:,} samples, fewer than one batch of {cell.batch_size:,}.")


def _canonical_model(spec: str, activation: Any) -> tuple[str, Any]:
    if activation is not None and "activation" in specs.parse(spec)[1]:
        raise SpecError(f"{spec} names an activation, and so does the study ({shown(activation)}). Give one of them.")
    return models.get(spec, activation).split()


def _canonical_optimizer(spec: str, rate: Any) -> tuple[str, float]:
    name, options = specs.parse(spec)
    inside = options.pop("lr", None)
    if inside is not None and rate is not None and inside != rate:
        raise SpecError(f"{spec} names a learning rate, and so does the study ({shown(rate)}). Give one of them.")
    chosen = Cell.__dataclass_fields__["learning_rate"].default if inside is None and rate is None else inside or rate
    if isinstance(chosen, bool) or not isinstance(chosen, (int, float)) or not 0 < chosen < math.inf:
        raise SpecError(f"The learning rate must be a positive number, not {shown(chosen)}.")
    return optimizers.get(specs.render(name, options))[0], float(chosen)


def _text(fields: Mapping[str, Any], key: str, default: str = "") -> str:
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise SpecError(f"{key} must be a name or a spec such as name(key=value), not {shown(value)}.")
    return value


def _positive(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 10**9:
        raise StudyError(f"{what} must be a whole number from 1 to 1,000,000,000, not {shown(value)}.")
    return value


def _matches(planned: PlannedCell, only: Mapping[str, Sequence[str]]) -> bool:
    return all(set(wanted) & _names_of(planned, axis) for axis, wanted in only.items())


def _names_of(planned: PlannedCell, axis: str) -> set[str]:
    """What a user may call this cell's value of an axis: its label, its value, or the name in its spec."""
    if axis not in AXES:
        raise unknown("axis", axis, AXES)
    value = getattr(planned.cell, axis)
    names = {str(value), planned.labels.get(axis, str(value))}
    return names | {value.partition("(")[0]} if isinstance(value, str) else names


def _require_matches(study: Study, only: Mapping[str, Sequence[str]], kept: Sequence[PlannedCell]) -> None:
    """Every value asked for must have kept something, or the user misspelt it."""
    for axis, wanted in only.items():
        for name in wanted:
            if not any(name in _names_of(planned, axis) for planned in kept):
                labels = {choice.label for grid in study.grids for choice in grid.get(axis, ())}
                raise unknown(f"value of axis {axis} (together with the rest of --only)", name, labels)
