"""The figure of changes from one store to another, with their intervals."""

from __future__ import annotations

import math
from typing import Any

from fanin.analysis.factors import format_title
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.analysis.store_comparison import ComparedCondition, StoreComparison
from fanin.report.escaping import escape_invisible
from fanin.report.sections.page_figure import PageFigure, round_number

_HEADS = ("model", "data")

MAX_PANELS = 60


def make_store_figure(comparison: StoreComparison) -> PageFigure | None:
    """A panel for each model, data set and later store, a row for each condition; None if there
    are no pairs.
    """
    design = comparison.design
    rest = [name for name in comparison.varying if name not in _HEADS]
    heads = [name for name in comparison.varying if name in _HEADS]

    def name_row(condition: ComparedCondition) -> str:
        return design.join_values({name: condition.values[name] for name in rest}) or "all"

    names = list(dict.fromkeys(map(name_row, comparison.conditions)))
    panels: dict[tuple[Any, ...], dict[str, Any]] = {}
    for condition in comparison.conditions:
        for number, change in enumerate(condition.changes):
            if not change.estimate.n:
                continue
            key = (*(condition.values[name] for name in heads), condition.metric, number)
            title = design.join_values({name: condition.values[name] for name in heads})
            if len(comparison.names) > 2:
                title = f"{title} ({comparison.names[number + 1]})"
            direction = "" if condition.higher_is_better else ", lower is better"
            panel = panels.setdefault(
                key,
                {
                    "title": escape_invisible(title if heads else ""),
                    "axis": escape_invisible(f"Δ {format_title(condition.metric)}{direction}"),
                    "zero": True,
                    "rows": [],
                },
            )
            row = {"c": names.index(name_row(condition)), "y": round_number(change.estimate.mean)}
            half = change.estimate.half_width
            if math.isfinite(half):
                row["lo"] = round_number(change.estimate.mean - half)
                row["hi"] = round_number(change.estimate.mean + half)
            panel["rows"].append(row)
    if not panels:
        return None
    data = {
        "kind": "dots",
        "names": [escape_invisible(name) for name in names],
        "panels": list(panels.values())[:MAX_PANELS],
        "legend": False,
    }
    caption = (
        f"Δ: the mean of the paired changes from {escape_invisible(comparison.names[0])}, with "
        f"95 % intervals (Student’s t) from {MIN_FOR_INTERVAL} pairs on. An interval that holds 0 "
        "shows no difference."
    )
    return PageFigure("Changes between the stores", caption, data)
