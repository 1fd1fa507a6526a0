"""Planted results for the tests of claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.claims.arms import Reading, Readings
from fanin.claims.claim_inputs import ClaimInputs, StudyRuns

NOTHING = ClaimInputs()


@dataclass(frozen=True)
class Numbers:
    """An arm that reads these numbers: replicate i has the i-th."""

    values: Sequence[float]
    origin: str = "here"
    first: int = 0

    def read(self, inputs: ClaimInputs) -> Readings:
        return {
            replicate: Reading(float(value), self.origin)
            for replicate, value in enumerate(self.values, self.first)
        }


@dataclass
class PlantedStudy:
    """A study of one axis and a learning rate, whose results are added one by one."""

    name: str = "planted"
    cells: list[PlannedCell] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)

    def add(
        self,
        initializer: str,
        replicate: int,
        *,
        rate: float = 0.1,
        outcome: str = "ok",
        history: Mapping[str, list[float]] | None = None,
        **metrics: float,
    ) -> None:
        """Add the result of one training."""
        cell = Cell(
            model="mlp",
            data="digits",
            initializer=initializer,
            learning_rate=rate,
            replicate=replicate,
        )
        labels = {"initializer": initializer, "learning_rate": f"{rate:g}"}
        self.cells.append(PlannedCell(cell, labels))
        self.results[cell.id] = Result(
            cell=cell,
            outcome=outcome,  # type: ignore[arg-type]
            metrics=dict(metrics),
            history=dict(history or {}),
        )

    def to_inputs(self) -> ClaimInputs:
        """What claims are decided from."""
        plan = Plan(self.name, "", "sound", tuple(self.cells))
        return ClaimInputs({self.name: StudyRuns(plan, self.results)})
