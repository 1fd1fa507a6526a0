"""Plan: a study expanded into cells, as it is stored with the results. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanin.errors import StoreCorrupt, shown
from fanin.study.cell import Cell


@dataclass(frozen=True)
class PlannedCell:
    """A cell and what its study calls the values of its axes; labels are for people and never part of the cell's id."""

    cell: Cell
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """The cells of one command, in the order in which they are trained, and what tables must say about them."""

    study: str
    question: str
    protocol: str
    cells: tuple[PlannedCell, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into an equal plan."""
        cells = [{"cell": planned.cell.canonical(), "labels": dict(planned.labels)} for planned in self.cells]
        return {
            "study": self.study,
            "question": self.question,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "cells": cells,
        }

    @classmethod
    def from_json(cls, record: Any) -> Plan:
        """The plan that `to_json` wrote; raises `StoreCorrupt` for anything else."""
        try:
            cells = tuple(
                PlannedCell(Cell.from_canonical(dict(item["cell"])), {str(k): str(v) for k, v in item["labels"].items()})
                for item in record["cells"]
            )
            texts = {key: str(record[key]) for key in ("study", "question", "protocol")}
            return cls(**texts, cells=cells, notes=tuple(map(str, record["notes"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreCorrupt(f"Not a plan of fanin ({type(error).__name__}: {error}): {shown(record)}") from None
