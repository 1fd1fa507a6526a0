"""What a published study reported, beside our results of the same cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.analysis import published
from fanin.analysis.analysis import Analysis
from fanin.analysis.published import Comparison
from fanin.report.numbers import NOTHING, NumberFormat
from fanin.report.tables.table import Column, Table, TableEntry

ADDED = (
    Column("published", "published"),
    Column("published_agrees", "agrees", numeric=False),
    Column("published_interval", "95 % for one run", numeric=False),
    Column("published_loss", "loss, published"),
    Column("published_epochs", "epochs, published"),
)

NOTES = (
    "Published: the single runs of the study of March 2025. 95 % for one run: the prediction "
    "interval of one more run of ours, mean ± t·s·√(1 + 1/n), with s pooled over the initializers "
    "with random weights of one model and data set; zero cells are compared exactly. agrees: "
    "whether the published test value lies there.",
)


def compare_published(analysis: Analysis) -> dict[published.Key, Comparison]:
    """Each published row of which the plan has the cells; empty for any other study."""
    plan = published.select_published(analysis.plan)
    if not plan.cells:
        return {}
    found = published.compare(plan, analysis.results)
    return {comparison.key: comparison for comparison in found if comparison.ours}


def make_published_columns(
    table: Table, found: dict[published.Key, Comparison]
) -> list[tuple[Column, Sequence[TableEntry]]]:
    """The added columns, with an entry for each row of the study's table."""
    keys = [column.key for column in table.columns]
    if not found or not {"model", "data", "initializer"} <= set(keys):
        return []
    model, data, initializer = map(keys.index, ("model", "data", "initializer"))
    rows = [
        _make_entries(found.get((row[model].text, row[data].text, row[initializer].text)))
        for row in table.rows
    ]
    return [(column, [row[i] for row in rows]) for i, column in enumerate(ADDED)]


def _make_entries(comparison: Comparison | None) -> tuple[TableEntry, ...]:
    if comparison is None:
        return (TableEntry(),) * len(ADDED)
    run = comparison.published
    form = NumberFormat(4 if math.isnan(run.test_mae) else 0)
    interval = (
        f"{form.text(comparison.interval[0])} to {form.text(comparison.interval[1])}"
        if comparison.interval
        else "exact"
        if comparison.key[2] == published.ZERO
        else NOTHING
    )
    loss = NumberFormat(4) if run.test_loss < 1000 else NumberFormat(3, 9)
    agrees = {True: "yes", False: "no", None: NOTHING}[comparison.agrees]
    return (
        TableEntry(form.text(run.verdict), run.verdict),
        TableEntry(agrees, agrees),
        TableEntry(interval, interval),
        TableEntry(loss.text(run.test_loss), run.test_loss),
        TableEntry(NumberFormat(0).text(run.epochs), run.epochs),
    )
