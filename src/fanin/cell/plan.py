"""Plan: a study expanded into cells, as it is stored with the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanin import specs
from fanin.cell.cell import Cell
from fanin.errors import StoreCorrupt, quote

FIXED, TUNED = "fixed rate", "tuned rate"
"""What labels call the two halves of an evaluation with both kinds of learning rates."""

_TUNING = "tuning of the learning rate"
"""How the last note of a tuning plan begins; a stored plan is recognised by it."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell and its labels, which are for people and never part of the cell's id."""

    cell: Cell
    labels: Mapping[str, str]
    """Axis → what the study calls the cell's value."""

    def is_selected_by(self, wanted: Mapping[str, Sequence[str]]) -> bool:
        """Whether the cell has one of the wanted labels, values or names on every axis."""
        return all(set(values) & self.list_names(axis) for axis, values in wanted.items())

    def list_names(self, axis: str) -> set[str]:
        """The names of the cell's value on an axis: its label, the value, the name in a spec."""
        head, dot, option = axis.partition(".")
        if dot:
            spec = getattr(self.cell, head)
            value = specs.parse(spec)[1].get(option) if spec is not None else None
            names = set() if value is None else {str(value), specs.render_value(value)}
            return names | ({self.labels[axis]} if axis in self.labels else set())
        value = getattr(self.cell, axis)
        names = {"none" if value in (None, ()) else str(value), self.labels.get(axis, str(value))}
        return names | {value.partition("(")[0]} if isinstance(value, str) else names


@dataclass(frozen=True)
class Plan:
    """The cells of one command, in the order they are trained, and what tables say about them."""

    study: str
    question: str
    protocol: str
    cells: tuple[PlannedCell, ...]
    notes: tuple[str, ...] = ()
    """What every table must say about the results."""
    study_toml: str = ""
    """The study file that says everything explicitly (`fanin.study.study.Study.to_toml`)."""
    command: str = ""
    """The command line or the call in Python that trains what is missing; empty if the plan was not
    run, or by an older fanin.
    """
    reference: str = ""
    """The compared value, as tables show it, that all others are compared with; empty for the usual
    one (`fanin.analysis.section_comparisons`).
    """
    metric: str = ""
    """What tables and differences look at, with or without ``test_`` or ``val_``; empty for the
    main metric of each section.
    """

    @property
    def is_tuning(self) -> bool:
        """Whether the trainings choose learning rates and are not evaluated.

        See `fanin.study.learning_rate_tuning`.
        """
        return any(note.startswith(_TUNING) for note in self.notes)

    def to_tuning_plan(self, cells: Iterable[PlannedCell]) -> Plan:
        """A plan of other cells, which choose the learning rates of this one's."""
        note = f"{_TUNING} of {self.study}: these trainings choose it, and are not evaluated"
        return replace(self, cells=tuple(cells), notes=(*self.notes, note))

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal plan."""
        cells = [
            {
                "id": planned.cell.id,
                "cell": planned.cell.to_json(),
                "labels": dict(planned.labels),
            }
            for planned in self.cells
        ]
        return {
            "study": self.study,
            "question": self.question,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "resolved": self.study_toml,
            "command": self.command,
            **({"reference": self.reference} if self.reference else {}),
            **({"metric": self.metric} if self.metric else {}),
            "cells": cells,
        }

    @classmethod
    def from_json(cls, record: Any) -> Plan:
        """The plan whose `to_json` gave `record`; raises `StoreCorrupt` for anything else."""
        try:
            cells = tuple(
                PlannedCell(
                    Cell.from_json(item["cell"], item.get("id", "")),
                    {str(k): str(v) for k, v in item["labels"].items()},
                )
                for item in record["cells"]
            )
            texts = {key: str(record[key]) for key in ("study", "question", "protocol")}
            notes = tuple(map(str, record["notes"]))
            return cls(
                **texts,
                cells=cells,
                notes=notes,
                study_toml=str(record.get("resolved", "")),
                command=str(record.get("command", "")),
                reference=str(record.get("reference", "")),
                metric=str(record.get("metric", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreCorrupt(
                f"Not a plan of fanin ({type(error).__name__}: {error}): {quote(record)}"
            ) from None


def merge_plans(plans: Sequence[Plan]) -> Plan:
    """One plan that holds the cells of all."""
    cells = {planned.cell.id: planned for plan in reversed(plans) for planned in plan.cells}
    order = dict.fromkeys(planned.cell.id for plan in plans for planned in plan.cells)
    references, metrics = {plan.reference for plan in plans}, {plan.metric for plan in plans}
    return Plan(
        study=" + ".join(dict.fromkeys(plan.study for plan in plans)),
        question=" ".join(dict.fromkeys(plan.question for plan in plans)),
        protocol=" + ".join(dict.fromkeys(plan.protocol for plan in plans)),
        cells=tuple(cells[cell] for cell in order),
        notes=tuple(dict.fromkeys(note for plan in plans for note in plan.notes)),
        reference=references.pop() if len(references) == 1 else "",
        metric=metrics.pop() if len(metrics) == 1 else "",
    )
