"""The figure of average ranks over problems, with the critical difference if they are enough."""

from __future__ import annotations

import math
from typing import Any

from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design
from fanin.analysis.problem_ranks import ProblemRanks
from fanin.analysis.statistics.ranks import MIN_PROBLEMS
from fanin.report.escaping import escape_invisible
from fanin.report.sections.page_figure import PageFigure, join_sentences, round_number


def make_rank_figure(analysis: Analysis) -> PageFigure | None:
    """The figure; None with too few problems that hold the same values."""
    found = analysis.problem_ranks
    if found is None or len(found.names) < 2:
        return None
    comparison = found.comparison
    design = analysis.design
    # Colours are those of the other figures, which number the values in the plan's order.
    names = list(dict.fromkeys(name for runs in analysis.section_runs for name in runs.names))
    panel: dict[str, Any] = {
        "title": "",
        "rows": [
            {"c": names.index(name), "rank": round_number(rank)}
            for name, rank in zip(found.names, comparison.ranks, strict=True)
        ],
    }
    if math.isfinite(comparison.critical_difference):
        ranks = comparison.ranks
        panel["cd"] = round_number(comparison.critical_difference)
        panel["groups"] = [
            [min(ranks[i] for i in group), max(ranks[i] for i in group)]
            for group in comparison.groups
        ]
    data = {
        "kind": "ranks",
        "names": [escape_invisible(name) for name in names],
        "panels": [panel],
        "legend": False,
    }
    caption = join_sentences(
        [
            f"Average rank over {_describe_problems(found, design)}; 1 is best.",
            f"{found.others} more sections hold other values, or no complete replicate."
            if found.others
            else "",
            f"Descriptive: fewer than {MIN_PROBLEMS} problems, nothing is claimed beyond these."
            if comparison.is_descriptive
            else "Bars join values whose ranks lie within one critical difference (Nemenyi, 5 %); "
            f"Friedman’s p = {comparison.p_value:.2g}.",
        ]
    )
    title = f"Average ranks of {design.format_title(design.compared)}s"
    return PageFigure(escape_invisible(title), caption, data)


def _describe_problems(found: ProblemRanks, design: Design) -> str:
    if not found.settings:
        return (
            f"{found.problems} problems (each a section of the table, by its mean over replicates)"
        )
    titles = " and ".join(map(design.format_title, found.settings))
    return (
        f"{found.problems} problems (each by the mean rank over the values of {titles}, "
        f"{found.sections} sections of the table in all)"
    )
