"""The figure of differences from the reference, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fanin.analysis.analysis import Analysis
from fanin.analysis.section_comparisons import Difference, SectionComparison
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.report.escaping import escape_invisible
from fanin.report.figures.axis_focus import select_focus
from fanin.report.figures.metric_titles import format_metric_axis
from fanin.report.sections.page_figure import PageFigure, join_sentences, round_number

MAX_PANELS = 60


def make_difference_figure(analysis: Analysis) -> PageFigure | None:
    """A panel for each section, a row for each value with its interval; None without any mean."""
    design = analysis.design
    comparisons = [item for item in analysis.comparisons if item.most_pairs > 1]
    names = list(dict.fromkeys(n for item in analysis.comparisons for n in item.names))
    panels = [
        _make_panel(analysis, item, names)
        for item in comparisons[:MAX_PANELS]
        if any(math.isfinite(one.mean) for one in item.differences)
    ]
    if not panels:
        return None
    references = dict.fromkeys(item.reference for item in comparisons)
    names_of_references = escape_invisible(" or ".join(references))
    has_far = any(row.get("far") for panel in panels for row in panel["rows"])
    more = len(comparisons) - MAX_PANELS
    caption = join_sentences(
        [
            f"Δ is the mean of the paired differences from {names_of_references}, "
            f"with 95 % intervals (Student’s t) from {MIN_FOR_INTERVAL} pairs on, each alone: the "
            "verdicts in the table are corrected for all. An interval that holds 0 shows no "
            "difference.",
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
