"""Comparison: what `fanin.compare` returns; a newcomer beside each baseline of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fanin.report.comparison_words import ComparisonVerdict, describe_comparison, write_notes
from fanin.report.results import Results
from fanin.report.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.newcomer_comparison import NewcomerSection

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class Comparison:
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

    def verdict(self) -> ComparisonVerdict:
        """What may be said of the newcomer, a sentence over all and one for each section."""
        return describe_comparison(self)

    def frame(self) -> pd.DataFrame:
        """One row per section and baseline, newcomer − baseline.

        Columns: the factors that name a section, metric, pairing (``paired``, ``unpaired``, ``other
        data``, ``absent``), and the fields of `fanin.analysis.section_comparisons.Difference`, of
        which value is the newcomer and reference the baseline.
        """
        from fanin.analysis.frames import frame_newcomer

        return frame_newcomer(self.results.analysis.design, self.sections)

    def table(self) -> Table:
        """The verdicts on top, then a row for the newcomer and for each baseline of a section."""
        from fanin.report.tables.comparison_table import make_comparison_table

        return make_comparison_table(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to read the verdicts correctly."""
        return write_notes(self)

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

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it."""
        from fanin.report.tables.html import to_html

        return to_html(self.table())

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"<Comparison of {self.label} with the baselines of {self.results.plan.study}>"
