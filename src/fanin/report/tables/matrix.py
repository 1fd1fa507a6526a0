"""Matrix: one row per section, one column per compared value, the test metric in the entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design, group_rows, split_sections
from fanin.analysis.factors import format_title, format_value, needs_title
from fanin.analysis.summary import find_main_metric
from fanin.report.tables.table import Column, TableEntry
from fanin.report.tables.table_entries import choose_format, describe_outcomes, make_number_entry

_HEADS = ("model", "data")

_Keyed = tuple[tuple[Any, ...], pd.DataFrame]
"""A section's key and its rows."""


def make_matrix(
    analysis: Analysis, suffix: str
) -> tuple[tuple[Column, ...], tuple[tuple[TableEntry, ...], ...]]:
    """The columns of the matrix, and a row for each section.

    Rows are grouped by model, data and metric, and named by the other factors that vary.
    """
    design, summary = analysis.design, analysis.summary
    heads = [name for name in design.headings if name in _HEADS]
    names = list(dict.fromkeys(summary[design.compared].map(format_value)))
    columns = (
        *(
            Column(
                name, design.format_title(name), False, heads_section=True, named=needs_title(name)
            )
            for name in heads
        ),
        Column("metric", "metric", False, heads_section=True),
        Column(
            "condition",
            " · ".join(design.format_title(name) for name in design.further),
            numeric=False,
        ),
        *(Column(name, name) for name in names),
    )
    best: set[tuple[tuple[Any, ...], str | None]] = {
        (item.section, item.best) for item in analysis.comparisons if item.best
    }
    metrics = {
        key: find_main_metric(section) for key, section in split_sections(analysis.frame, design)
    }
    rows = []
    for values, together in group_rows(summary, heads):
        for metric, part in _group_by_metric(together, design, metrics).items():
            head = [TableEntry(format_value(value), value) for value in values]
            head.append(TableEntry(format_title(metric) if metric else "no result yet", metric))
            rows += [[*head, *row] for row in _make_rows(part, metric, names, design, best, suffix)]
    return columns, tuple(map(tuple, rows))


def _group_by_metric(
    summary: pd.DataFrame, design: Design, metrics: Mapping[tuple[Any, ...], str | None]
) -> dict[str | None, list[_Keyed]]:
    """Metric → the sections judged by it. A section without results joins the first metric."""
    keyed = list(split_sections(summary, design))
    usual = next((metric for key, _ in keyed if (metric := metrics[key])), None)
    found: dict[str | None, list[_Keyed]] = {}
    for key, section in keyed:
        found.setdefault(metrics[key] or usual, []).append((key, section))
    return found


def _make_rows(
    part: list[_Keyed],
    metric: str | None,
    names: list[str],
    design: Design,
    best: set[tuple[tuple[Any, ...], str | None]],
    suffix: str,
) -> list[list[TableEntry]]:
    form = (
        choose_format(pd.concat([section for _, section in part]), metric, suffix)
        if metric
        else None
    )
    rows = []
    for key, section in part:
        entries = dict.fromkeys(names, TableEntry())
        for group in section.to_dict("records"):
            name = format_value(group[design.compared])
            number = (
                make_number_entry(group, metric, form, suffix, best=(key, name) in best)
                if metric and form
                else TableEntry()
            )
            entries[name] = _add_outcome(number, group)
        values = dict(zip(design.section, key, strict=True))
        condition = " · ".join(format_value(values[name]) for name in design.further)
        rows.append([TableEntry(condition, condition), *entries.values()])
    return rows


def _add_outcome(number: TableEntry, group: Mapping[Any, Any]) -> TableEntry:
    """The entry, with the share that diverged or the replicates if not as planned."""
    ok, diverged, planned = group["ok"], group["diverged"], group["planned"]
    if ok == planned:
        return number
    if not ok:
        return TableEntry(describe_outcomes(group))
    if diverged:
        share = f"{diverged}/{planned} div."
        return replace(
            number, text=f"{number.text} ({share})" if number.text.startswith("med") else share
        )
    return replace(number, text=f"{number.text} (n {ok})")
