"""The study's table: one row per condition in the case study's columns, or one number per condition
in a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design, split_sections
from fanin.analysis.factors import format_title, format_value, needs_title
from fanin.analysis.summary import find_measured, list_metrics, rank_metric
from fanin.report.numbers import NumberFormat
from fanin.report.study_conclusion import draw_conclusion
from fanin.report.tables import matrix, notes
from fanin.report.tables.table import Column, Table, TableEntry
from fanin.report.tables.table_entries import (
    choose_format,
    choose_spread,
    describe_outcomes,
    make_number_entry,
)

MANY_ROWS = 24
"""Most rows of a table whose factors are not only models and data sets; more make a matrix."""


def make_study_table(analysis: Analysis) -> Table:
    """The table of a plan's results.

    With several replicates a number is their mean, ± the half-width of its 95 % interval (from 5
    planned replicates on) or the standard deviation (below). If a replicate diverged, the
    median (``med``) replaces the mean, with the share of diverged runs and the mean rank beside it.
    A best value is marked only if paired intervals over at least 10 replicates allow it.

    A section lists the compared values (initializers, if they vary) in rows. If factors besides
    model and data vary and there are more than `MANY_ROWS` rows, a section becomes one row and the
    compared values become columns that show the test metric only
    (`fanin.report.tables.matrix`).
    """
    plan, frame = analysis.plan, analysis.frame
    heading = f"{plan.study}: {plan.question}" if plan.question else plan.study
    if analysis.is_empty:
        return Table(
            heading,
            (),
            (),
            notes=notes.capitalize(plan.notes),
            empty=notes.describe_empty(frame),
        )
    design, summary = analysis.design, analysis.summary
    replicates = notes.count_most_replicates(frame, design)
    compact = (
        bool(design.further) and len(summary) > MANY_ROWS and summary[design.compared].nunique() > 1
    )
    if compact:
        crossed = bool(analysis.seed_variances)
        columns, rows = matrix.make_matrix(analysis, choose_spread(replicates, crossed=crossed))
    else:
        columns = _make_columns(frame, design, replicates > 1)
        parts = [part for _, part in split_sections(summary, design)]
        rows = tuple(row for part in parts for row in _make_rows(part, columns, analysis))
    return Table(
        heading,
        columns,
        rows,
        notes=notes.write_notes(analysis, ranked=not compact),
        answer=draw_conclusion(analysis).lines,
    )


def _make_columns(frame: pd.DataFrame, design: Design, replicated: bool) -> tuple[Column, ...]:
    heads = [
        Column(
            name,
            design.format_title(name),
            numeric=False,
            heads_section=True,
            named=needs_title(name),
        )
        for name in design.headings
    ]
    finished = frame[frame["outcome"].isin(("ok", "diverged"))]
    rate = [Column("learning_rate", format_title("learning_rate"))] if design.tuned else []
    metrics = [Column(name, format_title(name)) for name in _choose_metrics(finished)]
    count = [Column("n", "n")] if replicated else []
    rank = (
        [Column("mean_rank", "rank")]
        if replicated and (frame["outcome"] == "diverged").any()
        else []
    )
    outcome = (
        [Column("outcome", "outcome", numeric=False)] if (frame["outcome"] != "ok").any() else []
    )
    compared = Column(design.compared, design.format_title(design.compared), numeric=False)
    return (*heads, compared, *rate, *metrics, *count, *rank, *outcome)


def _choose_metrics(finished: pd.DataFrame) -> list[str]:
    """Validation accuracy, test metrics, test loss, epochs and the metric that the plan asks for,
    if any run has them; of users' own trainings that test nothing, all metrics.
    """
    ok = finished[finished["outcome"] == "ok"]
    measured = [name for name in list_metrics(finished) if ok[name].notna().any()]
    tests = sorted(name for name in measured if name.startswith("test_") and name != "test_loss")
    if not any(name.startswith("test_") for name in measured):
        return sorted(measured, key=lambda name: (name == "epochs", *rank_metric(name)))
    chosen = find_measured(str(finished.attrs.get("metric", "")), measured)
    shown = dict.fromkeys(("val_accuracy", *tests, "test_loss", "epochs", chosen or "epochs"))
    return [name for name in shown if name in measured]


def _make_rows(
    section: pd.DataFrame, columns: tuple[Column, ...], analysis: Analysis
) -> list[tuple[TableEntry, ...]]:
    design, crossed = analysis.design, bool(analysis.seed_variances)
    suffix = choose_spread(int(section["planned"].max()), crossed=crossed)
    formats = {
        column.key: choose_format(section, column.key, suffix)
        for column in columns
        if column.key in section and column.numeric and column.key not in design.factors
    }
    best = {(*item.section, item.best, item.metric) for item in analysis.comparisons if item.best}
    return [
        tuple(_make_entry(group, column.key, formats, suffix, best, design) for column in columns)
        for group in section.to_dict("records")
    ]


def _make_entry(
    group: Mapping[Any, Any],
    key: str,
    formats: Mapping[str, NumberFormat],
    suffix: str,
    best: set[tuple[Any, ...]],
    design: Design,
) -> TableEntry:
    if key == "n":
        return TableEntry(str(group["ok"]), group["ok"])
    if key == "outcome":
        text = describe_outcomes(group, interval=suffix == "_half_width")
        return TableEntry(text, text)
    if key not in formats:
        return TableEntry(format_value(group[key]), group[key])
    marked = (
        *(group[name] for name in design.section),
        format_value(group[design.compared]),
        key,
    ) in best
    return make_number_entry(group, key, formats[key], suffix, best=marked)
