"""Study: a base cell and axes, and its expansion into a plan of cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from fanin import seeds
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.protocol import REGISTRY as PROTOCOLS
from fanin.errors import FaninError, StudyError, UnknownName, join_names
from fanin.study import study_file
from fanin.study.added_values import add_values
from fanin.study.axes import (
    AxisValue,
    Exclusion,
    Grid,
    read_base,
    read_exclusions,
    read_grids,
    read_tuning,
    write_tuning,
)
from fanin.study.canonical_cell import check_key
from fanin.study.expansion import Expansion
from fanin.study.field_forms import check_count
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.study.line_numbers import LineNumbers
from fanin.study.own_training_fields import require_tunable
from fanin.study.plain_values import check_study_name, make_document
from fanin.study.study_file import StudyDocument, StudyTables
from fanin.study.study_metric import check_metric, tune_by
from fanin.user_code import look_beside

MAX_CELLS = 100_000

DEFAULT_NAME = "study"
"""The name of a study that was given as a dict without one."""


@dataclass(frozen=True)
class Study:
    """A question and the grid of cells that answers it.

    Keys of `base` and of `grids` are fields of a cell, or options of one such as ``model.depth``.
    """

    name: str
    question: str = ""
    base: Mapping[str, Any] = field(default_factory=dict)
    """What all cells share."""
    grids: tuple[Grid, ...] = ()
    """The axes of each block [[grid]], the shared axes included."""
    protocol: str = "sound"
    replicates: int = 1
    seed: int = 0
    notes: tuple[str, ...] = ()
    exclude: tuple[Exclusion, ...] = ()
    tuning: LearningRateTuning | None = None
    """How the learning rate is chosen before the evaluation; None if it is fixed or an axis."""
    time: str = ""
    """About how long it takes, in words; measured for the built-in studies."""
    metric: str = ""
    """What tables, differences and the tuning look at, such as ``accuracy`` or ``val_loss``; empty
    for the main metric of each section.
    """
    reference: str = ""
    """The label of the value that results compare all others with, such as an initializer's; empty
    for the usual one (`fanin.analysis.reference`).
    """
    lines: LineNumbers = field(default_factory=LineNumbers, compare=False, repr=False)
    """The line numbers of its file."""
    file: Path | None = field(default=None, compare=False, repr=False)
    """The file that it was read from."""
    axes: InitVar[Mapping[str, Sequence[Any]] | None] = None
    """Axes that all of the `grids` share, or the only ones."""

    def __post_init__(self, axes: Mapping[str, Sequence[Any]] | None) -> None:
        if axes is None and self._is_canonical():
            return
        document = make_document(self.name, self._collect_tables(axes))
        for name, value in _read_fields(document).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Study:
        """The study that a dict describes: the keys of a study file, and ``name``.

        Raises `StudyError`, `UnknownName` and what else `load` raises.
        """
        keys = dict(tables)
        return cls.from_document(make_document(keys.pop("name", DEFAULT_NAME), keys))

    @classmethod
    def load(cls, name_or_path: str | PathLike[str]) -> Study:
        """A built-in study by its name, or the study in a file, whose path ends in ``.toml`` or is
        a `Path`.

        Raises `UnknownName` or `StudyError`.
        """
        return cls.from_document(study_file.read_document(name_or_path))

    @classmethod
    def from_toml(cls, text: str, name: str) -> Study:
        """The study that a TOML text describes; raises as `load` does."""
        return cls.from_document(study_file.parse_document(text, name))

    @classmethod
    def from_document(cls, document: StudyDocument) -> Study:
        """The study in a study file; raises a `FaninError` that names the line of a mistake."""
        return cls(**_read_fields(document), lines=document.lines, file=document.file)

    @property
    def folder(self) -> Path | None:
        """The folder of its file, where paths of user components are looked up first."""
        return self.file.parent if self.file else None

    def to_toml(self, *, comment: str = "") -> str:
        """A study file that says everything explicitly; `from_toml` makes an equal study of it."""
        return study_file.write_document(self.to_document(), comment=comment)

    def to_document(self) -> StudyDocument:
        """The study as a study file holds it."""
        tables = StudyTables(
            question=self.question,
            protocol=self.protocol,
            replicates=self.replicates,
            seed=self.seed,
            time=self.time,
            metric=self.metric,
            reference=self.reference,
            notes=list(self.notes),
            tune=write_tuning(self.tuning) if self.tuning else None,
            base={key: value for key, value in self.base.items() if value is not None},
            exclude=[{axis: [*names] for axis, names in one.items()} for one in self.exclude],
            grid=[
                {
                    axis: [_to_labelled(axis, value) for value in values]
                    for axis, values in grid.items()
                }
                for grid in self.grids
            ],
        )
        return StudyDocument(self.name, tables)

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
            only: axis → labels or values; other cells are left out.
            max_epochs: instead of the cells' own number of epochs; such cells are other cells.

        Raises `StudyError` for a grid that is too large, for values in `only` that match nothing
        and for cells that are not possible, and `FitError` for a model that does not fit its data;
        all before any work.
        """
        count = check_count(self.replicates if replicates is None else replicates, "replicates")
        self._check_size(count)
        for axis in only or {}:
            check_key(axis, "axis")
        head = {"protocol": PROTOCOLS.get(self.protocol).name, "seed": seeds.check_seed(self.seed)}
        if max_epochs is not None:
            head["epochs"] = check_count(max_epochs, "max_epochs")
        expansion = Expansion(self.name, self.base, self.grids, self.exclude, head, self.lines)
        with look_beside(self.folder):
            cells = self._select(expansion.list_cells(), only or {})
            if self.tuning is not None:
                require_tunable(planned.cell for planned in cells)
            check_metric(self.metric, (p.cell for p in cells), is_tuned=self.tuning is not None)
        self._check_duplicates(cells)
        chosen = [f"{axis}={','.join(names)}" for axis, names in (only or {}).items()]
        return Plan(
            study=self.name,
            question=" ".join(self.question.split()),
            protocol=" + ".join(dict.fromkeys(planned.cell.protocol for planned in cells)),
            cells=tuple(
                PlannedCell(replace(planned.cell, replicate=replicate), planned.labels)
                for replicate in range(count)
                for planned in cells
            ),
            notes=(*self._list_notes(), *expansion.remarks),
            study_toml=self.override(replicates=replicates, max_epochs=max_epochs).to_toml(
                comment=f"Run with --only {' '.join(chosen)}" if chosen else ""
            ),
            metric=self.metric,
            reference=self._check_reference(),
        )

    def override(
        self,
        *,
        replicates: int | None = None,
        max_epochs: int | None = None,
        signals: bool | None = None,
        metric: str | None = None,
        reference: str | None = None,
    ) -> Study:
        """The study with another number of replicates, or of epochs in all of its cells, with
        signals measured or not, another metric, by which rates are tuned too, or another reference.
        """
        study = self if replicates is None else replace(self, replicates=replicates)
        if metric is not None:
            tuning = study.tuning and tune_by(study.tuning, metric)
            study = replace(study, metric=metric, tuning=tuning)
        if reference is not None:
            study = replace(study, reference=reference)
            study._check_reference()
        if signals is not None:
            study = study._set_in_all("signals", signals)
        return study if max_epochs is None else study._set_in_all("epochs", max_epochs)

    def _set_in_all(self, key: str, value: Any) -> Study:
        """The study with one value of a field in all of its cells."""
        grids = tuple(
            {axis: values for axis, values in grid.items() if axis != key} for grid in self.grids
        )
        return replace(self, base={**self.base, key: value}, grids=grids)

    def add(self, axes: Mapping[str, Sequence[Any]]) -> Study:
        """The study with further values of axes, such as ``{"initializer": ["my_init.py:make"]}``.

        A key of the base becomes an axis. The cells of the study stay as they are, so results that
        are stored are used. Raises `StudyError` and `UnknownName`.
        """
        (read,) = Study(self.name, axes=axes).grids
        base, grids = add_values(self.base, self.grids, read)
        return replace(self, base=base, grids=grids)

    def summarize(self) -> dict[str, str]:
        """What the study holds, in words: heading → text. Nothing is planned."""
        facts = {"question": " ".join(self.question.split())}
        facts["fixed"] = join_names(f"{key} = {value}" for key, value in self.base.items())
        for number, grid in enumerate(self.grids, 1):
            where = f", grid {number}" if len(self.grids) > 1 else ""
            for axis, values in grid.items():
                facts[f"{axis}{where}"] = join_names(value.label for value in values)
        facts |= {"protocol": self.protocol, "replicates": str(self.replicates)}
        if self.tuning is not None:
            facts["learning rate"] = f"tuned over {join_names(map(str, self.tuning.rates))}"
        return {heading: text for heading, text in facts.items() if text}

    def _repr_html_(self) -> str:
        """The summary as a table, as a notebook shows it."""
        rows = "".join(
            f"<tr><th>{escape(heading)}</th><td>{escape(text)}</td></tr>"
            for heading, text in self.summarize().items()
        )
        return f"<p><strong>Study {escape(self.name)}</strong></p><table>{rows}</table>"

    def _is_canonical(self) -> bool:
        """Whether all fields are as `_read_fields` gives them, not as a user writes them."""
        return (
            check_study_name(self.name) == self.name
            and isinstance(self.grids, tuple)
            and all(map(_is_canonical_grid, self.grids))
            and isinstance(self.base, Mapping)
            and not any(isinstance(value, (Mapping, list)) for value in self.base.values())
            and isinstance(self.notes, tuple)
            and isinstance(self.exclude, tuple)
            and all(_is_canonical_exclusion(exclusion) for exclusion in self.exclude)
            and isinstance(self.tuning, (LearningRateTuning, type(None)))
            and all(
                isinstance(text, str)
                for text in (self.question, self.protocol, self.time, self.metric, self.reference)
            )
        )

    def _collect_tables(self, axes: Mapping[str, Sequence[Any]] | None) -> dict[str, object]:
        """The fields as keys of a study file."""
        grids = [self.grids] if isinstance(self.grids, Mapping) else self.grids
        return {
            "question": self.question,
            "protocol": self.protocol,
            "replicates": self.replicates,
            "seed": self.seed,
            "time": self.time,
            "metric": self.metric,
            "reference": self.reference,
            "notes": self.notes,
            "tune": self.tuning,
            "base": self.base,
            "axes": axes,
            "exclude": self.exclude,
            "grid": grids,
        }

    def _check_size(self, replicates: int) -> None:
        sizes = (math.prod(len(values) for values in grid.values()) for grid in self.grids)
        total = replicates * sum(sizes)
        if total > MAX_CELLS:
            raise StudyError(
                f"Study {self.name} has {total:,} cells; at most {MAX_CELLS:,} can be planned. "
                "Split it, or use fewer values."
            )

    def _select(
        self, cells: Sequence[PlannedCell], only: Mapping[str, Sequence[str]]
    ) -> list[PlannedCell]:
        """The cells that `only` names; raises `UnknownName` for a value that matches none."""
        selected = [planned for planned in cells if planned.is_selected_by(only)]
        for axis, names in only.items():
            for name in names:
                if not any(name in planned.list_names(axis) for planned in selected):
                    labels = {value.label for grid in self.grids for value in grid.get(axis, ())}
                    raise UnknownName.suggest(
                        f"value of axis {axis} (together with the rest of --only)", name, labels
                    )
        return selected

    def _check_reference(self) -> str:
        """The reference; raises `UnknownName` if no axis has a value with this label."""
        labels = {
            value.label
            for grid in self.grids
            for axis, values in grid.items()
            if axis not in ("model", "data")  # never compared
            for value in values
        }
        if self.reference and self.reference not in labels:
            raise UnknownName.suggest(
                f"value of study {self.name}, to compare with,", self.reference, sorted(labels)
            )
        return self.reference

    def _check_duplicates(self, cells: Sequence[PlannedCell]) -> None:
        for cell, times in Counter(planned.cell for planned in cells).items():
            if times > 1:
                raise StudyError(
                    f"Study {self.name} lists the same cell twice ({cell.workload}, "
                    f"{cell.initializer}): two values of an axis mean the same. Remove one."
                )

    def _list_notes(self) -> tuple[str, ...]:
        flaw = PROTOCOLS.get(self.protocol).flaw
        is_fixed = not self.tuning and not any("learning_rate" in grid for grid in self.grids)
        fixed = "the learning rate is fixed, not tuned per initializer" if is_fixed else ""
        return tuple(note for note in (flaw, fixed, *self.notes) if note)


def _read_fields(document: StudyDocument) -> dict[str, Any]:
    """The fields of the study in a document; raises a `FaninError` that names the line."""
    tables = document.tables
    try:
        PROTOCOLS.get(tables.protocol)
    except FaninError as error:
        raise error.add_context(document.locate("", "protocol")) from None
    grids = read_grids(document)
    return {
        "name": document.name,
        "question": tables.question,
        "base": read_base(document),
        "grids": grids,
        "protocol": tables.protocol,
        "replicates": tables.replicates,
        "seed": tables.seed,
        "notes": tuple(tables.notes),
        "exclude": read_exclusions(document),
        "tuning": read_tuning(document, grids),
        "time": tables.time,
        "metric": tables.metric,
        "reference": tables.reference,
    }


def _is_canonical_grid(grid: object) -> bool:
    return isinstance(grid, Mapping) and all(
        isinstance(values, tuple) and all(isinstance(value, AxisValue) for value in values)
        for values in grid.values()
    )


def _is_canonical_exclusion(exclusion: object) -> bool:
    return isinstance(exclusion, Mapping) and all(
        isinstance(names, tuple) and all(isinstance(name, str) for name in names)
        for names in exclusion.values()
    )


def _to_labelled(axis: str, value: AxisValue) -> dict[str, Any]:
    if value.value is None:
        raise StudyError(
            f"A study file cannot hold the value None of axis {axis} (label {value.label}). Give "
            "the value that the default stands for."
        )
    return {"label": value.label, "use": value.value}
