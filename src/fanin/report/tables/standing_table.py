"""The table of a comparison: a row for the newcomer and for each baseline, section by section."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.analysis import statistics
from fanin.analysis.design import Design
from fanin.analysis.factors import format_title, format_value, needs_title
from fanin.analysis.newcomer_comparison import BaselineDifference, NewcomerSection
from fanin.analysis.section_runs import ABSENT, OK
from fanin.report.numbers import NumberFormat, choose_number_format
from fanin.report.standing_words import choose_format
from fanin.report.tables.table import Column, Table, TableEntry

NEWCOMER = "newcomer"


def make_standing_table(
    title: str,
    design: Design,
    sections: Sequence[NewcomerSection],
    notes: Sequence[str],
    answer: tuple[str, ...],
) -> Table:
    """Columns: what names the section, the initializer, its mean, the newcomer's difference from
    it, the pairs or runs, the corrected p, and the verdict.
    """
    titles = dict.fromkeys(format_title(section.metric) for section in sections)
    value = next(iter(titles)) if len(titles) == 1 else "score"
    columns = (
        *(
            Column(
                name,
                design.format_title(name),
                numeric=False,
                heads_section=True,
                named=needs_title(name),
            )
            for name in design.headings
        ),
        Column("initializer", "initializer", numeric=False),
        Column("value", value),
        Column("difference", "difference"),
        Column("n", "n"),
        Column("p", "p"),
        Column("verdict", "verdict", numeric=False),
    )
    rows = []
    for section in sections:
        names = dict(zip(design.section, section.section, strict=True))
        heads = tuple(
            TableEntry(format_value(names[name]), names[name]) for name in design.headings
        )
        rows += [(*heads, *row) for row in _make_rows(section)]
    return Table(
        title,
        columns,
        tuple(rows),
        notes=tuple(note[:1].upper() + note[1:] for note in notes),
        empty="Nothing to compare.",
        answer=answer,
    )


def _make_rows(section: NewcomerSection) -> list[tuple[TableEntry, ...]]:
    names = (section.newcomer, *(item.baseline for item in section.against))
    means = {name: _estimate(section, name) for name in names}
    form = choose_number_format(
        section.metric,
        [found.mean for found in means.values()],
        [found.half_width for found in means.values()],
    )
    differences = choose_format(section)
    own = means[section.newcomer]
    first = (
        TableEntry(section.newcomer, section.newcomer),
        _write_mean(section, section.newcomer, own, form),
        TableEntry("", None),
        TableEntry(str(section.planned), section.planned),
        TableEntry("", None),
        TableEntry(NEWCOMER, NEWCOMER),
    )
    return [
        first,
        *(
            (
                TableEntry(item.baseline, item.baseline),
                _write_mean(section, item.baseline, means[item.baseline], form),
                _write_difference(item, differences),
                TableEntry(str(item.difference.n), item.difference.n),
                _write_p(item.difference.p_holm),
                TableEntry(_write_verdict(item), item.judgement),
            )
            for item in section.against
        ),
    ]


def _estimate(section: NewcomerSection, name: str) -> statistics.Estimate:
    column = section.runs.names.index(name)
    return statistics.estimate(section.runs.values[section.runs.states[:, column] == OK, column])


def _write_mean(
    section: NewcomerSection, name: str, found: statistics.Estimate, form: NumberFormat
) -> TableEntry:
    states = section.runs.states[:, section.runs.names.index(name)]
    run = int((states != ABSENT).sum())
    if found.n < run:  # diverged or failed: there is no mean
        return TableEntry(f"{found.n} of {run} ok", None)
    return TableEntry(form.text(found.mean), found.mean)


def _write_difference(item: BaselineDifference, form: NumberFormat) -> TableEntry:
    difference = item.difference
    if item.pairing in ("other data", "absent") or not math.isfinite(difference.mean):
        return TableEntry()
    spread = difference.half_width
    return TableEntry(
        form.text(difference.mean + 0.0, spread),  # no minus before zero
        difference.mean,
        spread if math.isfinite(spread) else None,
    )


def _write_p(p: float) -> TableEntry:
    if math.isnan(p):
        return TableEntry()
    return TableEntry("<0.001" if p < 0.001 else f"{p:.3f}", p)


def _write_verdict(item: BaselineDifference) -> str:
    return f"{item.judgement} †" if item.pairing == "unpaired" else item.judgement
