"""Results: what `fanin.run` returns; gives every table, figure and page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fanin import atomic
from fanin.errors import OutputError, UnknownName
from fanin.report.export_formats import check_format
from fanin.report.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from fanin.analysis.analysis import Analysis
    from fanin.cell.plan import Plan
    from fanin.cell.result import Result
    from fanin.execution.run_summary import RunSummary
    from fanin.report.study_conclusion import Conclusion


@dataclass(frozen=True, repr=False)
class Results:
    """A plan and the results of its cells so far. ``print(results)`` shows the table."""

    plan: Plan
    results: Mapping[str, Result]
    """By cell id. Results of cells outside the plan are ignored."""
    out: Path | None = None
    """The results folder, the default place of reports."""
    command: str = ""
    """The command line that continues the study; by default the one that was run."""
    run_summary: RunSummary | None = field(default=None, compare=False)
    """What the call of `fanin.run` did that returned these results; None if they were loaded."""

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of planned cells by outcome, ``missing`` included; zeros are left out."""
        found = Counter(
            getattr(self.results.get(p.cell.id), "outcome", "missing") for p in self.plan.cells
        )
        order = ("ok", "diverged", "failed", "killed", "missing")
        return {name: found[name] for name in order if found[name]}

    @cached_property
    def analysis(self) -> Analysis:
        """What the results say, computed once for every table, figure and export."""
        from fanin.analysis.analysis import Analysis

        return Analysis(self.plan, self.results)

    def frame(self) -> pd.DataFrame:
        """One row per planned cell; see `fanin.analysis.frames.build_frame`."""
        return self.analysis.frame.copy()

    def history(self) -> pd.DataFrame:
        """One row per cell and epoch; see `fanin.analysis.frames.build_history`."""
        return self.analysis.history.copy()

    def signals(self) -> pd.DataFrame:
        """One row per cell, epoch and layer of the cells that measured their signals; see
        `fanin.analysis.layer_signals.build_signals`. No rows if none did.
        """
        from fanin.analysis.layer_signals import build_signals

        return build_signals(self.analysis.table)

    def impact(self) -> pd.DataFrame:
        """One row per condition: gradient flow, stability and cost; see
        `fanin.analysis.impact.Impact`.
        """
        from fanin.analysis.impact import frame_impact, measure_impact

        return frame_impact(measure_impact(self.analysis.table, self.analysis.design))

    def summary(self) -> pd.DataFrame:
        """One row per condition, over its replicates; see `fanin.analysis.summary.summarise`."""
        return self.analysis.summary.copy()

    def differences(
        self,
        reference: str | None = None,
        *,
        metric: str | None = None,
        margin: float | None = None,
    ) -> pd.DataFrame:
        """One row per compared value and section: its paired difference from the reference.

        `fanin.analysis.frames.frame_differences` has the columns, and
        `fanin.analysis.section_comparisons` says how they are judged.

        Args:
            reference: the compared value to subtract; by default the study's own.
            metric: what to compare; by default the test metric.
            margin: the smallest difference that matters: one that is shown to be smaller is judged
                ``equivalent``.
        """
        from fanin.analysis.frames import frame_differences

        analysis = self.compare_with(reference).analysis
        comparisons = analysis.compare(metric=metric, margin=margin)
        return frame_differences(analysis.design, comparisons)

    def contrast_rates(self, reference: str | None = None) -> pd.DataFrame:
        """One row per compared value and section of a study that trained both with a fixed learning
        rate and with tuned ones: what tuning changes.

        Columns: the factors that name a section, metric, value, reference, fixed and tuned (value −
        reference with either rate), then mean, low, high (95 %) of tuned − fixed, p_holm,
        judgement, and reversed: whether the order of the two changes, and each order is shown.

        Args:
            reference: the compared value to subtract; by default the study's own.
        """
        from fanin.analysis.frames import frame_tuning

        analysis = self.compare_with(reference).analysis
        return frame_tuning(analysis.design, analysis.rate_contrasts)

    def verdict(self, reference: str | None = None) -> Conclusion:
        """What may be concluded, a sentence for each section and one over all; ``print`` shows it.

        Args:
            reference: the compared value that others are compared with; by default the study's own.
        """
        from fanin.report.study_conclusion import draw_conclusion

        return draw_conclusion(self.compare_with(reference).analysis)

    def compare_with(self, reference: str | None) -> Results:
        """The same results with another reference; raises `UnknownName` if it is none of them."""
        from fanin.analysis.reference import check_reference

        if reference is None or reference == self.plan.reference:
            return self
        check_reference(self.analysis.table, self.analysis.design, reference)
        return replace(self, plan=replace(self.plan, reference=reference))

    def rank_by(self, metric: str | None) -> Results:
        """The same results by another metric, in every table, figure and verdict; raises
        `UnknownName` if none has it.
        """
        if not metric or metric == self.plan.metric:
            return self
        self.analysis.require_metric(metric)
        return replace(self, plan=replace(self.plan, metric=metric))

    def table(self) -> Table:
        """The study's table with its notes; ``print`` shows it."""
        return self._table

    @cached_property
    def _table(self) -> Table:
        from fanin.report.tables.study_table import make_study_table

        return make_study_table(self.analysis)

    def difference_table(self) -> Table:
        """The differences from the reference as a table: `differences` as people read it."""
        return self._difference_table

    @cached_property
    def _difference_table(self) -> Table:
        from fanin.report.tables.difference_table import make_difference_table

        return make_difference_table(self.analysis)

    def variance_table(self) -> Table:
        """What each seed adds to the spread between runs, as a table; without rows if the study
        does not cross its seeds. `Analysis.seed_variances` has the numbers.
        """
        from fanin.report.tables.variance_table import make_variance_table

        return make_variance_table(self.analysis)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the HTML page (default: ``report.html`` in the results folder); return its path."""
        from fanin.report.page import format_command, write_page

        command = self.command or format_command(self.plan, self.out)
        place = self._place(path, "report.html")
        return write_page(self.analysis, self.table(), place, command=command)

    def curves(self, path: str | Path | None = None) -> Path:
        """Write the grid of training curves as PNG, PDF or SVG; return its path.

        By default ``curves.png`` in the results folder.
        """
        from fanin.report.figures.training_curves import write_curve_grid

        return write_curve_grid(self.analysis, self._place(path, "curves.png"))

    def overlay(self, path: str | Path | None = None) -> Path:
        """Write the mean curves of all compared values, one panel per section, as PNG, PDF or SVG;
        return the path, by default ``overlay.png`` in the results folder.
        """
        from fanin.report.figures.overlaid_curves import write_overlaid_curves

        return write_overlaid_curves(self.analysis, self._place(path, "overlay.png"))

    def figures(self, folder: str | Path | None = None, *, kind: str = "png") -> list[Path]:
        """Write the figures that fit what the study varies (`fanin.report.figures.study_figures`),
        and those of signals, as PNG, PDF or SVG; return their paths.

        Response curves, heat maps and dot plots, named ``figure-1-test-accuracy-by-depth.png`` and
        so on, by default in the results folder. There are none if nothing varies or nothing has
        finished training. Figures of an earlier plan are removed from a results folder.
        """
        from fanin.report.figures.rendering import parse_format
        from fanin.report.figures.stale_figures import remove_stale_figures
        from fanin.report.figures.study_figures import draw_study_figures, write_figures

        kind = parse_format(f"figure.{kind}")
        place = self._place(folder, "figures/")
        paths = write_figures(draw_study_figures(self.analysis, kind=kind), place, kind)
        remove_stale_figures(place, paths, (planned.cell.id for planned in self.plan.cells))
        return paths

    def cell_curves(self, cell: str, path: str | Path) -> Path:
        """Write one cell's training curves as PNG, PDF or SVG; `cell` is its id."""
        from fanin.report.figures.training_curves import write_cell_curves

        by_id = {planned.cell.id: planned for planned in self.plan.cells}
        if cell not in by_id:
            raise UnknownName.suggest("cell of this study", cell, by_id if len(by_id) <= 10 else [])
        return write_cell_curves(by_id[cell], self.results.get(cell), path)

    def export(self, kind: str, path: str | Path | None = None) -> str:
        """The table as text; also written to `path` if one is given.

        Args:
            kind: ``csv`` (a row per condition, full precision), ``csv-cells`` (a row per cell),
                ``differences`` (CSV, a row per compared value and section), ``markdown``,
                ``latex``, or ``jsonl`` (complete results, for ``fanin store merge``).
        """
        exporters = self._exporters()
        text = exporters[check_format(kind, exporters)]()
        if path is not None:
            atomic.write(path, text, create_parent=True)
        return text

    def _exporters(self) -> dict[str, Callable[[], str]]:
        from fanin.report.tables import documents, latex
        from fanin.store import jsonl

        return {
            "csv": lambda: documents.summary_to_csv(self.analysis.condition_summary),
            "csv-cells": lambda: documents.frame_to_csv(self.analysis.frame),
            "differences": lambda: documents.differences_to_csv(self.differences()),
            "jsonl": lambda: jsonl.to_text(self.results.values()),
            "markdown": lambda: "\n".join(map(documents.to_markdown, self._list_tables())),
            "latex": lambda: latex.to_latex(self._list_tables(), self.plan.study),
        }

    def _list_tables(self) -> list[Table]:
        """The study's table, and those of differences and of variance components if it has any."""
        others = (self.difference_table(), self.variance_table())
        return [self.table(), *(table for table in others if table.rows)]

    def _place(self, path: str | Path | None, name: str) -> Path:
        if path is not None:
            return Path(path)
        if self.out is None:
            raise OutputError(f"These results have no folder. Give a path, such as {name}.")
        return self.out if name.endswith("/") else self.out / name

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it."""
        from fanin.report.tables.html import to_html

        return to_html(self.table())

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.outcomes.items())
        return f"<Results of {self.plan.study}: {counts or 'no cells'}>"
