"""Analysis: what a plan and its results say, computed once for every table, figure and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fanin.analysis.cell_table import CellTable
from fanin.analysis.design import Design, infer_design
from fanin.analysis.summary import Summary, summarise
from fanin.cell.plan import Plan
from fanin.cell.result import Result

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.ranking import Verdict


@dataclass(frozen=True, eq=False)
class Analysis:
    """Frame, design, summary and verdicts of one plan and its results.

    Each is computed when it is first asked for, and kept: whoever draws or writes takes the same
    analysis. Nobody changes a frame in place. Only frames and verdicts need pandas.

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
        return summarise(self.table, self.design)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The same as a frame."""
        from fanin.analysis.frames import frame_summary

        return frame_summary(self.condition_summary)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """For each section that compares something, whether one condition is the best."""
        from fanin.analysis.ranking import judge_sections

        return tuple(judge_sections(self.frame, self.design))

    @cached_property
    def planned_results(self) -> tuple[Result, ...]:
        """The results of the planned cells, in the plan's order."""
        ids = (planned.cell.id for planned in self.plan.cells)
        return tuple(self.results[cell] for cell in ids if cell in self.results)

    @property
    def is_empty(self) -> bool:
        """Whether no planned cell has a result."""
        return not self.planned_results
