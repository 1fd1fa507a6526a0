"""The table of stores side by side: each condition in each store, and how it changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from fanin.analysis import statistics
from fanin.analysis.factors import format_title, format_value, needs_title
from fanin.analysis.statistics import MIN_FOR_INTERVAL, MIN_FOR_TEST
from fanin.analysis.store_comparison import (
    ComparedCondition,
    PairedChange,
    StoreComparison,
    StoredCondition,
)
from fanin.report.conclusion_words import format_p_value
from fanin.report.numbers import NOTHING, NumberFormat, choose_number_format
from fanin.report.tables.notes import capitalize
from fanin.report.tables.table import Column, Table, TableEntry

_HEADS = ("model", "data")


def make_store_table(comparison: StoreComparison) -> Table:
    """A row for each condition that two stores or more hold."""
    title = " and ".join(comparison.names)
    answer = tuple(_write_answer(comparison))
    if not comparison.conditions:
        return Table(
            title,
            (),
            (),
            answer=answer,
            empty="Nothing to compare: the stores have no condition with a result in common.",
        )
    heads = [name for name in comparison.varying if name in _HEADS]
    rest = [name for name in comparison.varying if name not in _HEADS]
    title_of = comparison.design.format_title
    columns = [
        *(Column(name, title_of(name), False, True, needs_title(name)) for name in heads),
        Column("metric", "metric", numeric=False, heads_section=True),
        Column("condition", " · ".join(map(title_of, rest)) or "condition", numeric=False),
        *(Column(f"store_{i}", name) for i, name in enumerate(comparison.names)),
    ]
    for number, name in enumerate(comparison.names[1:], 1):
        words = "" if len(comparison.names) == 2 else f", {name}"
        columns += [
            Column(f"change_{number}", f"change{words}"),
            Column(f"pairs_{number}", "n"),
            Column(f"p_{number}", "p", numeric=False),
            Column(f"judgement_{number}", "verdict", numeric=False),
        ]
    forms = _choose_formats(comparison)
    rows = tuple(
        tuple(_make_row(condition, heads, rest, comparison, forms[condition.metric]))
        for condition in comparison.conditions
    )
    notes = capitalize(_write_notes(comparison))
    return Table(title, tuple(columns), rows, notes=notes, answer=answer)


def describe_differing(comparison: StoreComparison) -> str:
    """What the stores differ in, in words; empty if it is no factor."""
    parts = (
        f"{comparison.design.format_title(name)} "
        + " → ".join(format_value(value) for value in values)
        for name, values in comparison.differing.items()
    )
    return "; ".join(parts)


def _write_answer(comparison: StoreComparison) -> Iterator[str]:
    if not comparison.conditions:
        yield "These stores share no condition: their studies follow one after the other."
        return
    differing = describe_differing(comparison)
    yield (
        f"The stores differ in {differing}."
        if differing
        else "The stores hold the same conditions; no factor tells them apart."
    )
    first = comparison.names[0]
    for number, name in enumerate(comparison.names[1:]):
        changes = [condition.changes[number] for condition in comparison.conditions]
        counts = Counter(change.judgement for change in changes)
        words = {
            "better": f"better in {name} than in {first}",
            "worse": f"worse in {name} than in {first}",
            "equal": "equal in each replicate",
            "cannot tell": "not told apart",
            "too few": f"with too few pairs to test ({MIN_FOR_TEST} needed)",
            "no pairs": "without pairs",
        }
        listed = ", ".join(f"{counts[key]} {text}" for key, text in words.items() if counts[key])
        pairs = sum(change.estimate.n for change in changes)
        identical = sum(change.identical for change in changes)
        yield (
            f"Of {len(changes):,} conditions: {listed}. {identical:,} of {pairs:,} pairs have the "
            "same number."
        )


def _choose_formats(comparison: StoreComparison) -> dict[str, NumberFormat]:
    forms = {}
    for metric in dict.fromkeys(condition.metric for condition in comparison.conditions):
        some = [one for one in comparison.conditions if one.metric == metric]
        values = [
            value for one in some for stored in one.stored for value in stored.values.values()
        ]
        spreads = [
            change.estimate.sd
            for one in some
            for change in one.changes
            if math.isfinite(change.estimate.sd) and change.estimate.sd
        ]
        forms[metric] = choose_number_format(metric, values, spreads)
    return forms


def _make_row(
    condition: ComparedCondition,
    heads: list[str],
    rest: list[str],
    comparison: StoreComparison,
    form: NumberFormat,
) -> Iterator[TableEntry]:
    for name in heads:
        value = condition.values[name]
        yield TableEntry(format_value(value), value)
    yield TableEntry(format_title(condition.metric), condition.metric)
    words = comparison.design.join_values({name: condition.values[name] for name in rest})
    yield TableEntry(words or "all", words)
    for stored in condition.stored:
        yield _make_stored_entry(stored, form)
    for change in condition.changes:
        yield from _make_change_entries(change, form)


def _make_stored_entry(stored: StoredCondition, form: NumberFormat) -> TableEntry:
    diverged = stored.outcomes.get("diverged", 0)
    if diverged:
        return TableEntry(f"{diverged}/{stored.planned} diverged")
    if not stored.values:
        return TableEntry()
    estimate = statistics.estimate(list(stored.values.values()))
    spread = estimate.half_width if math.isfinite(estimate.half_width) else estimate.sd
    return TableEntry(form.text(estimate.mean, spread), estimate.mean)


def _make_change_entries(change: PairedChange, form: NumberFormat) -> Iterator[TableEntry]:
    estimate = change.estimate
    if not estimate.n:
        yield TableEntry(NOTHING)
    else:
        text = form.text(estimate.mean, estimate.half_width)
        yield TableEntry(f"+{text}" if estimate.mean > 0 else text, estimate.mean)
    yield TableEntry(str(estimate.n), estimate.n)
    known = not math.isnan(change.p_holm)
    yield TableEntry(format_p_value(change.p_holm, equals="") if known else NOTHING, change.p_holm)
    yield TableEntry(change.judgement, change.judgement)


def _write_notes(comparison: StoreComparison) -> Iterator[str]:
    yield (
        f"Each store: mean ± half-width of its 95 % interval (Student's t) from {MIN_FOR_INTERVAL} "
        "replicates on, ± standard deviation below"
    )
    yield (
        f"Change: the later store minus {comparison.names[0]}, over runs of one replicate on the "
        "same data; p: exact sign-flip test, after Holm's correction for all conditions"
    )
    keys = [
        {result.environment_key for result in analysis.planned_results}
        for analysis in comparison.analyses
    ]
    if any(some != keys[0] for some in keys):
        yield "The stores were computed in different environments (see below)"
