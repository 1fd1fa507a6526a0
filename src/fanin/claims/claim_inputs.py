"""ClaimInputs: what claims are decided from, that is results of studies and observations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result

Wanted = Mapping[str, str]
"""Axis → label."""


@dataclass(frozen=True, eq=False)
class StudyRuns:
    """The planned cells of a study and their results so far."""

    plan: Plan
    results: Mapping[str, Result]

    def select(self, wanted: Wanted) -> list[tuple[PlannedCell, Result]]:
        """The cells with these labels that have a result."""
        rows = self._rows
        for axis, label in wanted.items():
            rows = [row for row in rows if label in _list_names(row[0], axis)]
        return rows

    def lists(self, wanted: Wanted) -> bool:
        """Whether the plan has cells with these labels."""
        return any(
            all(label in _list_names(planned, axis) for axis, label in wanted.items())
            for planned in self.plan.cells
        )

    @cached_property
    def _rows(self) -> list[tuple[PlannedCell, Result]]:
        return [
            (planned, self.results[planned.cell.id])
            for planned in self.plan.cells
            if planned.cell.id in self.results
        ]


@dataclass(frozen=True, eq=False)
class ClaimInputs:
    """Studies by name, and observations by name: a record per network or repeat."""

    studies: Mapping[str, StudyRuns] = field(default_factory=dict)
    observations: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def select_runs(self, study: str, wanted: Wanted) -> list[tuple[PlannedCell, Result]]:
        """The results of a study's cells with these labels; none if it has not run."""
        return self.studies[study].select(wanted) if study in self.studies else []

    def select_observations(
        self, name: str, wanted: Mapping[str, Any]
    ) -> Iterator[Mapping[str, Any]]:
        """The records of an observation with these entries."""
        for record in self.observations.get(name, ()):
            if all(record.get(key) == value for key, value in wanted.items()):
                yield record


def load_committed(folder: Path, studies: Sequence[str]) -> ClaimInputs:
    """What a folder of committed results holds: ``<study>.jsonl`` and ``claim-observations.json``.

    Learning rates are those that the results choose. Studies without a file are left out.
    """
    found = {name: folder / f"{name}.jsonl" for name in studies}
    return ClaimInputs(
        {name: _load_study(name, path) for name, path in found.items() if path.is_file()},
        read_observations(folder / "claim-observations.json"),
    )


def read_observations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The observations in a file; none if it does not exist."""
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _load_study(name: str, path: Path) -> StudyRuns:
    from fanin.store import jsonl
    from fanin.study import learning_rate_tuning
    from fanin.study.study import Study

    found, _ = jsonl.read(path)
    results = {result.cell.id: result for result in found}
    study = Study.load(name)
    plan = study.plan()
    if study.tuning is not None:
        *_, plan = learning_rate_tuning.plan_stages(study.tuning, plan, lambda: results)
    return StudyRuns(plan, results)


def _list_names(planned: PlannedCell, axis: str) -> set[str]:
    return {planned.labels[axis]} if axis in planned.labels else planned.list_names(axis)
