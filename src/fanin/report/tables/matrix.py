"""Matrix: many sections of a study in one row each, what is compared in columns, the test metric in
the entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design, group_rows, split_sections
from fanin.analysis.factors import needs_title, title, value_text
from fanin.analysis.summary import main_metric
from fanin.report.tables.table import Column, Entry
from fanin.report.tables.table_entries import metric_format, number_entry, outcome_text

_HEADS = ("model", "data")

_Keyed = tuple[tuple[Any, ...], pd.DataFrame]
"""A section's key and its rows."""


def columns_and_rows(
    analysis: Analysis, suffix: str
) -> tuple[tuple[Column, ...], tuple[tuple[Entry, ...], ...]]:
    """The columns of the matrix, and a row for each section.

    Rows stand under their model, data and metric, and are named by the other factors that vary.
    """
    design, summary = analysis.design, analysis.summary
    heads = [name for name in design.headings if name in _HEADS]
    names = list(dict.fromkeys(summary[design.compared].map(value_text)))
    columns = (
        *(
            Column(name, design.title(name), False, heads_section=True, named=needs_title(name))
            for name in heads
        ),
        Column("metric", "metric", False, heads_section=True),
        Column(
            "condition", " · ".join(design.title(name) for name in design.further), numeric=False
        ),
        *(Column(name, name) for name in names),
    )
    best: set[tuple[tuple[Any, ...], str | None]] = {
        (verdict.section, verdict.best) for verdict in analysis.verdicts if verdict.best
    }
    metrics = {key: main_metric(section) for key, section in split_sections(analysis.frame, design)}
    rows = []
    for values, together in group_rows(summary, heads):
        for metric, part in _by_metric(together, design, metrics).items():
            head = [Entry(value_text(value), value) for value in values]
            head.append(Entry(title(metric) if metric else "no result yet", metric))
            rows += [[*head, *row] for row in _rows(part, metric, names, design, best, suffix)]
    return columns, tuple(map(tuple, rows))


def _by_metric(
    summary: pd.DataFrame, design: Design, metrics: Mapping[tuple[Any, ...], str | None]
) -> dict[str | None, list[_Keyed]]:
    """Metric → the sections that are judged by it; one without any result stands with the others."""
    keyed = list(split_sections(summary, design))
    usual = next((metric for key, _ in keyed if (metric := metrics[key])), None)
    found: dict[str | None, list[_Keyed]] = {}
    for key, section in keyed:
        found.setdefault(metrics[key] or usual, []).append((key, section))
    return found


def _rows(
    part: list[_Keyed],
    metric: str | None,
    names: list[str],
    design: Design,
    best: set[tuple[tuple[Any, ...], str | None]],
    suffix: str,
) -> list[list[Entry]]:
    form = (
        metric_format(pd.concat([section for _, section in part]), metric, suffix)
        if metric
        else None
    )
    rows = []
    for key, section in part:
        entries = dict.fromkeys(names, Entry())
        for group in section.to_dict("records"):
            name = value_text(group[design.compared])
            number = (
                number_entry(group, metric, form, suffix, best=(key, name) in best)
                if metric and form
                else Entry()
            )
            entries[name] = _with_outcome(number, group)
        values = dict(zip(design.section, key, strict=True))
        condition = " · ".join(value_text(values[name]) for name in design.further)
        rows.append([Entry(condition, condition), *entries.values()])
    return rows


def _with_outcome(number: Entry, group: Mapping[Any, Any]) -> Entry:
    """The entry, with what is not as planned: the share that diverged, or how many replicates there
    are.
    """
    ok, diverged, planned = group["ok"], group["diverged"], group["planned"]
    if ok == planned:
        return number
    if not ok:
        return Entry(outcome_text(group))
    if diverged:
        share = f"{diverged}/{planned} div."
        return replace(
            number, text=f"{number.text} ({share})" if number.text.startswith("med") else share
        )
    return replace(number, text=f"{number.text} (n {ok})")
