"""The table of differences: each compared value minus the reference, with interval and p."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design
from fanin.analysis.factors import format_title, format_value, needs_title
from fanin.analysis.paired_runs import Difference
from fanin.analysis.section_comparisons import SectionComparison
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.report.conclusion_words import choose_difference_format, format_amount, format_p_value
from fanin.report.numbers import NumberFormat
from fanin.report.tables.table import Column, Table, TableEntry

MOST_ROWS = 24
"""More rows than so many are not printed below a study's table, but on request."""

_MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def make_difference_table(analysis: Analysis) -> Table:
    """A row for each section and compared value but the reference: its paired difference.

    ``difference`` is value − reference with the half-width of its 95 % interval (Student's t), from
    5 pairs on; if runs diverged, the pairs won. ``p`` is that of the exact sign-flip test after
    Holm's correction within the section, with the marks of significance. ``seen from`` is the
    smallest difference that would have been seen, ``needed`` the replicates that would decide.
    """
    design = analysis.design
    comparisons = [item for item in analysis.comparisons if item.most_pairs > 1]
    references = dict.fromkeys(item.reference for item in comparisons)
    title = f"Differences from {next(iter(references))}" if len(references) == 1 else "Differences"
    if not comparisons:
        return Table("Differences", (), (), empty="There are no pairs of replicates to compare.")
    columns = (
        *(
            Column(name, design.format_title(name), False, True, needs_title(name))
            for name in design.headings
        ),
        Column("metric", "metric", numeric=False, heads_section=True),
        Column("value", design.format_title(design.compared), numeric=False),
        *([Column("reference", "minus", numeric=False)] if len(references) > 1 else []),
        Column("difference", "difference"),
        Column("n", "n"),
        Column("p", "p", numeric=False),
        Column("detectable", "seen from"),
        Column("needed", "needed"),
        Column("judgement", "verdict", numeric=False),
    )
    keys = [column.key for column in columns]
    rows = [
        tuple(entries[key] for key in keys)
        for item in comparisons
        for entries in _make_rows(item, design)
    ]
    return Table(title, columns, tuple(rows), notes=tuple(_write_notes(comparisons)))


def _make_rows(comparison: SectionComparison, design: Design) -> Iterable[dict[str, TableEntry]]:
    form = choose_difference_format(comparison)
    heads = {
        name: TableEntry(format_value(value), value)
        for name, value in zip(design.section, comparison.section, strict=True)
    }
    for item in comparison.differences:
        yield {
            **heads,
            "metric": TableEntry(format_title(comparison.metric), comparison.metric),
            "value": TableEntry(item.value, item.value),
            "reference": TableEntry(item.reference, item.reference),
            "difference": _make_difference_entry(item, form),
            "n": TableEntry(f"{item.n + item.failed:,}", item.n + item.failed),
            "p": _make_p_entry(item),
            "detectable": _make_detectable_entry(item, comparison.metric),
            "needed": TableEntry(f"{item.needed:,}", item.needed) if item.needed else TableEntry(),
            "judgement": TableEntry(item.judgement, item.judgement),
        }


def _make_difference_entry(item: Difference, form: NumberFormat) -> TableEntry:
    if not math.isfinite(item.mean):
        won = f"won {item.wins}, lost {item.losses}" if item.n else "no pairs"
        return TableEntry(won, None)
    spread = item.half_width if math.isfinite(item.half_width) else None
    text = form.text(item.mean, item.half_width)
    return TableEntry(text if item.mean <= 0 else f"+{text}", item.mean, spread)


def _make_p_entry(item: Difference) -> TableEntry:
    if math.isnan(item.p_holm):
        return TableEntry()
    mark = next((mark for limit, mark in _MARKS if item.p_holm <= limit), "")
    shown = format_p_value(item.p_holm, equals="")
    return TableEntry(f"{shown} {mark}".rstrip(), item.p_holm)


def _make_detectable_entry(item: Difference, metric: str) -> TableEntry:
    if not math.isfinite(item.detectable):
        return TableEntry()
    return TableEntry(format_amount(item.detectable, metric), item.detectable)


def _write_notes(comparisons: Iterable[SectionComparison]) -> Iterable[str]:
    items = [item for each in comparisons for item in each.differences]
    tested = any(math.isfinite(item.p_holm) for item in items)
    p = (
        "; p: exact sign-flip test, after Holm's correction within a section (* 5 %, ** 1 %, *** "
        "0.1 %)"
    )
    yield (
        "n: pairs of runs of one replicate; ± half-width of the 95 % interval (Student's t) of one "
        f"difference alone, from {MIN_FOR_INTERVAL} pairs on{p if tested else ''}"
    )
    yield (
        "Seen from: the smallest difference that so many pairs see with 80 % power after "
        "correction; needed: the replicates that would see this difference, if it is the true one"
    )
    if any(item.diverged for item in items):
        yield (
            "If a run diverged there is no mean: a diverged run has lost its pair, and p is of "
            "wins and losses"
        )
    if any(item.failed for item in items):
        yield (
            "Pairs with a failed run have no difference; p counts each as the largest one, against "
            "what the others say"
        )
