"""Differences from the reference: a table of all of them, and a figure with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from fanin.analysis.analysis import Analysis
from fanin.analysis.factors import format_title
from fanin.analysis.section_comparisons import ALPHA, Difference, SectionComparison
from fanin.analysis.statistics import MIN_FOR_INTERVAL, MIN_FOR_TEST
from fanin.report.escaping import escape_invisible
from fanin.report.figures.dot_plot import select_focus
from fanin.report.figures.metric_titles import format_metric_axis
from fanin.report.numbers import NOTHING, NumberFormat, choose_number_format
from fanin.report.sections.page_figure import PageFigure, join_sentences, round_number
from fanin.report.tables.table import Column, Table, TableEntry

MAX_PANELS = 60

_MARKS = {"better": "better", "worse": "worse", "equal": "equal", "equivalent": "equivalent"}


def make_difference_table(analysis: Analysis) -> Table:
    """A row for each compared value of each section, beside its reference."""
    design = analysis.design
    compared = design.format_title(design.compared)
    columns = (
        Column("section", "", numeric=False, heads_section=True),
        Column(design.compared, compared, numeric=False),
        Column("difference", "difference"),
        Column("interval", "95 % interval"),
        Column("n", "pairs"),
        Column("p", "p"),
        Column("p_holm", "p, Holm"),
        Column("judgement", "judgement", numeric=False),
        Column("detectable", "detectable"),
        Column("needed", "needed"),
    )
    rows = tuple(
        row
        for comparison in analysis.comparisons
        for row in _make_rows(comparison, _name_section(analysis, comparison))
    )
    return Table("Differences", columns, rows, notes=_write_notes(analysis))


def make_difference_figure(analysis: Analysis) -> PageFigure | None:
    """A panel for each section, a row for each value with its interval; None without any mean."""
    design = analysis.design
    names = list(dict.fromkeys(n for item in analysis.comparisons for n in item.names))
    panels = [
        _make_panel(analysis, item, names)
        for item in analysis.comparisons[:MAX_PANELS]
        if any(math.isfinite(one.mean) for one in item.differences)
    ]
    if not panels:
        return None
    references = list(dict.fromkeys(item.reference for item in analysis.comparisons))
    has_far = any(row.get("far") for panel in panels for row in panel["rows"])
    more = len(analysis.comparisons) - MAX_PANELS
    caption = join_sentences(
        [
            f"Δ is the mean of the paired differences from {escape_invisible(' or '.join(references))}, "
            f"with 95 % intervals (Student’s t) from {MIN_FOR_INTERVAL} pairs on. An interval that "
            "holds 0 shows no difference.",
            "A triangle at the edge: beyond the axis." if has_far else "",
            f"Shown: the first {MAX_PANELS} sections." if more > 0 else "",
        ]
    )
    data = {
        "kind": "dots",
        "names": [escape_invisible(name) for name in names],
        "panels": panels,
        "legend": True,
    }
    title = f"Differences by {design.format_title(design.compared)}"
    return PageFigure(escape_invisible(title), caption, data)


def _name_section(analysis: Analysis, comparison: SectionComparison) -> str:
    name = analysis.design.name_section(comparison.section)
    metric = format_title(comparison.metric)
    return f"{name}: {metric} minus that of {comparison.reference}"


def _make_rows(comparison: SectionComparison, heading: str) -> Iterator[tuple[TableEntry, ...]]:
    form = _choose_format(comparison)
    for item in comparison.differences:
        has_interval = math.isfinite(item.low)
        yield (
            TableEntry(heading, heading),
            TableEntry(item.value, item.value),
            TableEntry(_sign(form, item.mean), item.mean, best=item.judgement == "better"),
            TableEntry(
                f"{_sign(form, item.low)} to {_sign(form, item.high)}" if has_interval else NOTHING,
                item.low,
            ),
            TableEntry(str(item.n), item.n),
            TableEntry(_format_p(item.p), item.p),
            TableEntry(_format_p(item.p_holm), item.p_holm),
            TableEntry(_describe_judgement(item), item.judgement),
            TableEntry(form.text(item.detectable), item.detectable),
            TableEntry(NOTHING if item.needed is None else f"{item.needed:,}", item.needed),
        )


def _choose_format(comparison: SectionComparison) -> NumberFormat:
    items = comparison.differences
    widths = [item.half_width for item in items]
    finite = [width for width in widths if math.isfinite(width)]
    return choose_number_format(comparison.metric, [item.mean for item in items], finite)


def _sign(form: NumberFormat, value: float) -> str:
    text = form.text(value)
    return f"+{text}" if value > 0 else text.replace("-", "−", 1)


def _format_p(p: float) -> str:
    if not math.isfinite(p):
        return NOTHING
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _describe_judgement(item: Difference) -> str:
    words = [_MARKS.get(item.judgement, item.judgement)]
    if item.diverged:
        words.append(f"{item.diverged} pairs diverged, {item.wins} won, {item.losses} lost")
    if item.failed:
        words.append(f"{item.failed} pairs failed")
    return "; ".join(words)


def _write_notes(analysis: Analysis) -> tuple[str, ...]:
    if not analysis.comparisons:
        return ()
    notes = [
        "Paired by replicate: both runs saw the same batches, masks and normal draws.",
        f"p is from the exact sign-flip test, from {MIN_FOR_TEST} pairs on; Holm corrects it for "
        f"all comparisons of a section. better and worse: corrected p of at most {ALPHA:g}.",
        "detectable: the smallest true difference that so many pairs see with probability 0.8; "
        "needed: the replicates that would see a true difference of the size found.",
    ]
    return tuple(notes)


def _make_panel(
    analysis: Analysis, comparison: SectionComparison, names: Sequence[str]
) -> dict[str, Any]:
    design = analysis.design
    higher = comparison.runs.higher_is_better
    finite = {
        item.value: [v for v in (item.mean, item.low, item.high) if math.isfinite(v)]
        for item in comparison.differences
    }
    focus = select_focus([*finite.values(), [0.0]], higher_is_better=higher)
    ends = [value for part in focus for value in part]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    dataset = _find_dataset(analysis, comparison)
    title = format_metric_axis(comparison.metric, dataset, higher_is_better=higher)
    varying = [name for name in design.headings if name in design.varying]
    return {
        "title": escape_invisible(design.name_section(comparison.section, varying))
        if varying
        else "",
        "axis": escape_invisible(f"Δ {title}"),
        "zero": True,
        "rows": [
            _make_dot(names.index(item.value), item, finite[item.value], low, high)
            for item in comparison.differences
        ],
    }


def _find_dataset(analysis: Analysis, comparison: SectionComparison) -> str:
    values = dict(zip(analysis.design.section, comparison.section, strict=True))
    datasets = analysis.frame.attrs.get("datasets", {})
    return str(datasets.get(values.get("data"), ""))


def _make_dot(
    number: int, item: Difference, finite: Sequence[float], low: float, high: float
) -> dict[str, Any]:
    row: dict[str, Any] = {"c": number, "y": round_number(item.mean), "planned": item.n}
    if math.isfinite(item.low):
        row |= {"lo": round_number(item.low), "hi": round_number(item.high)}
    if not finite:
        row["note"] = f"{item.diverged} diverged" if item.diverged else "no pairs"
    elif not any(low <= value <= high for value in finite):
        row["far"] = 1 if min(finite) > high else -1
    return row
