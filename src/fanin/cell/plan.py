"""Plan: a study expanded into cells, as it is stored with the results. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanin import specs
from fanin.cell.cell import Cell
from fanin.errors import StoreCorrupt, quote

TUNING = "tuning of the learning rate"
"""How the note of a plan begins whose trainings choose learning rates."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell and what its study calls the values of its axes; labels are for people and never part
    of the cell's id.
    """

    cell: Cell
    labels: Mapping[str, str]

    def is_selected_by(self, wanted: Mapping[str, Sequence[str]]) -> bool:
        """Whether the cell has one of the wanted labels, values or names on every axis."""
        return all(set(values) & self.list_names(axis) for axis, values in wanted.items())

    def list_names(self, axis: str) -> set[str]:
        """What a user may call this cell's value of an axis: its label, its value, or the name in
        its spec.
        """
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
    """The cells of one command, in the order in which they are trained, and what tables must say
    about them.
    """

    study: str
    question: str
    protocol: str
    cells: tuple[PlannedCell, ...]
    notes: tuple[str, ...] = ()
    study_toml: str = ""
    """The study file that says all this explicitly (`fanin.study.resolved_study`)."""

    @property
    def is_tuning(self) -> bool:
        """Whether these trainings choose learning rates (`fanin.study.learning_rate_tuning`) and
        are not evaluated.
        """
        return any(note.startswith(TUNING) for note in self.notes)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into an equal plan."""
        cells = [
            {"cell": planned.cell.to_json(), "labels": dict(planned.labels)}
            for planned in self.cells
        ]
        return {
            "study": self.study,
            "question": self.question,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "resolved": self.study_toml,
            "cells": cells,
        }

    @classmethod
    def from_json(cls, record: Any) -> Plan:
        """The plan that `to_json` wrote; raises `StoreCorrupt` for anything else."""
        try:
            cells = tuple(
                PlannedCell(
                    Cell.from_json(dict(item["cell"])),
                    {str(k): str(v) for k, v in item["labels"].items()},
                )
                for item in record["cells"]
            )
            texts = {key: str(record[key]) for key in ("study", "question", "protocol")}
            notes = tuple(map(str, record["notes"]))
            return cls(
                **texts, cells=cells, notes=notes, study_toml=str(record.get("resolved", ""))
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreCorrupt(
                f"Not a plan of fanin ({type(error).__name__}: {error}): {quote(record)}"
            ) from None
