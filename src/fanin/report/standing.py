"""Standing: what `fanin.compare` returns; a newcomer beside each baseline of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fanin.cell.result import describe_key_difference
from fanin.report.results import Results
from fanin.report.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.newcomer_comparison import NewcomerSection
    from fanin.report.standing_words import StandingVerdict

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class Standing:
    """A newcomer and the baselines of a study. ``print(comparison)`` shows the verdicts."""

    results: Results
    """All runs: those of the newcomer and of the baselines."""
    label: str
    """The newcomer, as it was given."""
    source: str = ""
    """Where the baselines' results are from."""
    budgets: Mapping[str, int] = field(default_factory=dict)
    """Initializer → the trainings that tuned its learning rates; empty if no rate was tuned."""
    alone: int = 0
    """How many cells of the study were left out, because no baseline has a result there."""

    @cached_property
    def newcomer(self) -> str:
        """The newcomer, as tables show it."""
        from fanin.analysis.factors import format_value

        table = self.results.analysis.table
        for row, planned in enumerate(table.plan.cells):
            if planned.labels.get("initializer") == self.label:
                return format_value(table.conditions[table.numbers[row]]["initializer"])
        return self.label

    @cached_property
    def sections(self) -> tuple[NewcomerSection, ...]:
        """The newcomer beside the baselines of each section."""
        from fanin.analysis.newcomer_comparison import compare_newcomer

        return compare_newcomer(self.results.analysis.section_runs, self.newcomer)

    def verdict(self) -> StandingVerdict:
        """What may be said of the newcomer, a sentence over all and one for each section."""
        from fanin.report.standing_words import describe_standing

        return describe_standing(self.newcomer, self.sections, self.results.analysis.design)

    def frame(self) -> pd.DataFrame:
        """One row per section and baseline, newcomer − baseline.

        Columns: the factors that name a section, metric, pairing (``paired``, ``unpaired``, ``other
        data``, ``absent``), and the fields of `fanin.analysis.paired_runs.Difference`, of
        which value is the newcomer and reference the baseline.
        """
        from fanin.analysis.frames import frame_newcomer

        return frame_newcomer(self.results.analysis.design, self.sections)

    def table(self) -> Table:
        """The verdicts on top, then a row for the newcomer and for each baseline of a section."""
        from fanin.report.tables.standing_table import make_standing_table

        return make_standing_table(
            f"{self.newcomer} against {self.results.plan.study}",
            self.results.analysis.design,
            self.sections,
            self.notes,
            self.verdict().lines,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to read the verdicts correctly."""
        from fanin.report.standing_words import describe_budgets, write_notes

        notes = [f"Baselines: {self.source}."] if self.source else []
        notes += write_notes(self.sections, self._describe_environments())
        if self.label in self.budgets:
            others = [count for name, count in self.budgets.items() if name != self.label]
            notes.append(describe_budgets(self.budgets[self.label], others))
        if self.alone:
            notes.append(
                f"{self.alone:,} cells of the study were left out, because no baseline has a "
                "result there."
            )
        return (*notes, *self.results.plan.notes)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the verdicts, each difference with its numbers, and the table."""
        return {
            "schema": SCHEMA,
            "study": self.results.plan.study,
            "newcomer": self.label,
            "baselines": self.source,
            "budgets": dict(self.budgets),
            "cells_left_out": self.alone,
            "verdict": self.verdict().to_json(),
            "table": self.table().to_json(),
        }

    def _describe_environments(self) -> str:
        """The parts in which the environments of newcomer and baselines differ."""
        found: dict[bool, dict[str, None]] = {True: {}, False: {}}
        for planned in self.results.plan.cells:
            result = self.results.results.get(planned.cell.id)
            if result is not None:
                is_own = planned.labels.get("initializer") == self.label
                found[is_own][result.environment_key] = None
        own = next(iter(found[True]), "")
        return describe_key_difference(found[False], own) if own else ""

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it."""
        from fanin.report.tables.html import to_html

        return to_html(self.table())

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"<Standing of {self.label} with the baselines of {self.results.plan.study}>"
