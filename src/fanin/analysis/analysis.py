"""Analysis: what a plan and its results say, computed once for every table, figure and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fanin.analysis.cell_table import CellTable
from fanin.analysis.design import Design, infer_design
from fanin.analysis.summary import Summary, find_measured, summarise
from fanin.cell.plan import FIXED, Plan
from fanin.cell.result import Result
from fanin.errors import UnknownName

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.problem_ranks import ProblemRanks
    from fanin.analysis.section_comparisons import SectionComparison
    from fanin.analysis.section_runs import SectionRuns
    from fanin.analysis.seed_variance import SeedVariance
    from fanin.analysis.tuning_contrasts import SectionContrast


@dataclass(frozen=True, eq=False)
class Analysis:
    """Frame, design, summary and comparisons of one plan and its results.

    Each is computed when it is first asked for, and kept: whoever draws or writes takes the same
    analysis. Nobody changes a frame in place. Only frames need pandas.

    Args:
        plan: the planned cells.
        results: by cell id. Results of other cells are ignored.
    """

    plan: Plan
    results: Mapping[str, Result]

    @cached_property
    def table(self) -> CellTable:
        """One row per planned cell, in plain columns."""
        return CellTable(self.plan, self.results)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per planned cell (`fanin.analysis.frames.build_frame`)."""
        from fanin.analysis.frames import build_frame

        return build_frame(self.table)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per cell and epoch (`fanin.analysis.frames.build_history`)."""
        from fanin.analysis.frames import build_history

        return build_history(self.table)

    @cached_property
    def design(self) -> Design:
        """Which factor is compared, and within what."""
        return infer_design(self.table)

    @cached_property
    def condition_summary(self) -> Summary:
        """One row per condition, over its replicates (`fanin.analysis.summary.summarise`)."""
        return summarise(self.table, self.design, crossed=bool(self.seed_variances))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The same as a frame."""
        from fanin.analysis.frames import frame_summary

        return frame_summary(self.condition_summary)

    @cached_property
    def section_runs(self) -> tuple[SectionRuns, ...]:
        """The runs of each section that compares something, as matrices; empty if the plan crosses
        its seeds, because runs that share seeds are no independent replicates.
        """
        from fanin.analysis.section_runs import arrange_sections

        return () if self.seed_variances else tuple(arrange_sections(self.table, self.design))

    @cached_property
    def comparisons(self) -> tuple[SectionComparison, ...]:
        """For each section that compares something, each value beside the plan's reference."""
        from fanin.analysis.section_comparisons import compare_section

        return tuple(compare_section(runs, self.plan.reference) for runs in self.section_runs)

    def compare(
        self, *, metric: str | None = None, margin: float | None = None
    ) -> tuple[SectionComparison, ...]:
        """As `comparisons`, by a metric of one's own choice or with a margin of equivalence.

        Raises `UnknownName` for a metric that no result has.
        """
        from fanin.analysis.section_comparisons import compare_section
        from fanin.analysis.section_runs import arrange_sections

        if metric is None and margin is None:
            return self.comparisons
        chosen = None if metric is None else self.require_metric(metric)
        crossed = bool(self.seed_variances)
        sections = [] if crossed else arrange_sections(self.table, self.design, chosen)
        return tuple(compare_section(runs, self.plan.reference, margin) for runs in sections)

    def require_metric(self, metric: str) -> str:
        """The metric of that name, with ``test_`` or ``val_`` before it if it has to be; raises
        `UnknownName` if no result has it.
        """
        found = find_measured(metric, self.table.metrics)
        if found is None:
            raise UnknownName.suggest("metric of these results", metric, self.table.metrics)
        return found

    @cached_property
    def problem_ranks(self) -> ProblemRanks | None:
        """How the compared values rank over the problems; None with fewer than three."""
        from fanin.analysis.problem_ranks import rank_over_problems
        from fanin.analysis.tuning_contrasts import FACTOR

        sections = self.section_runs
        if FACTOR in self.design.varying:  # the fixed rate does not make another problem
            at = self.design.section.index(FACTOR)
            sections = tuple(runs for runs in sections if runs.section[at] != FIXED)
        return rank_over_problems(sections, self.design.section)

    @cached_property
    def rate_contrasts(self) -> tuple[SectionContrast, ...]:
        """What tuned learning rates change, of each section that was trained with a fixed rate
        too.
        """
        from fanin.analysis.tuning_contrasts import contrast_tuning

        return contrast_tuning(
            self.section_runs, self.design.section, FIXED, self.plan.reference or None
        )

    @cached_property
    def planned_results(self) -> tuple[Result, ...]:
        """The results of the planned cells, in the plan's order."""
        ids = (planned.cell.id for planned in self.plan.cells)
        return tuple(self.results[cell] for cell in ids if cell in self.results)

    @cached_property
    def seed_variances(self) -> tuple[SeedVariance, ...]:
        """What each seed adds to the spread between runs, if the plan crosses its seeds."""
        from fanin.analysis.seed_variance import split_variance

        return split_variance(self.table, self.design)

    @property
    def is_empty(self) -> bool:
        """Whether no planned cell has a result."""
        return not self.planned_results
