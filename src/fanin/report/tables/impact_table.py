"""The table of impacts: gradient flow, stability and cost of each condition."""

from __future__ import annotations

import math

from fanin.analysis.analysis import Analysis
from fanin.analysis.factors import format_value, needs_title
from fanin.analysis.impact import TITLES, Impact, measure_impact
from fanin.report.numbers import NOTHING
from fanin.report.tables.table import Column, Table, TableEntry

_SHARES = ("dead_units", "diverged")
_COUNTS = ("trained", "measured")


def make_impact_table(analysis: Analysis) -> Table:
    """A row for each condition (`fanin.analysis.impact.measure_impact`), in sections."""
    design = analysis.design
    heads = [
        Column(name, design.format_title(name), False, heads_section=True, named=needs_title(name))
        for name in design.headings
    ]
    compared = Column(design.compared, design.format_title(design.compared), numeric=False)
    numbers = [Column(name, title) for name, title in TITLES.items()]
    rows = tuple(
        (
            *(_write_factor(row, column.key) for column in (*heads, compared)),
            *(_write_number(name, getattr(row, name)) for name in TITLES),
        )
        for row in measure_impact(analysis.table, design)
    )
    notes = [
        "Medians over replicates. Gradient: rms over the first layer's parameters / the last "
        "layer's, at the start and over later epochs. Update ratio: norm of a step / norm of the "
        "weights.",
    ]
    if any(row[len(heads) + 2].value == 0 for row in rows):
        notes.append("— was not measured: signals = true in the study, or --signals, measures it.")
    title = f"{analysis.plan.study}: impact of the {design.format_title(design.compared)}"
    return Table(title, (*heads, compared, *numbers), rows, notes=tuple(notes))


def _write_factor(row: Impact, name: str) -> TableEntry:
    value = row.factors[name]
    return TableEntry(format_value(value), value)


def _write_number(name: str, value: float) -> TableEntry:
    if math.isnan(value):
        return TableEntry(NOTHING)
    if name in _COUNTS:
        return TableEntry(str(value), value)
    if name in _SHARES:
        return TableEntry(f"{value:.0%}", value)
    text = "∞" if math.isinf(value) else f"{value:.2g}"
    return TableEntry(text, value if math.isfinite(value) else None)
