"""The figure of learning-rate sensitivity: what the trials of a tuned study said of each rate.

Trials are stored beside the study's own cells, with other seeds. Where the rate is an axis of the
study instead, the response curves of `condition_figures` show it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fanin.analysis.analysis import Analysis
from fanin.analysis.factors import SEEDS, format_value
from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.report.escaping import escape_invisible
from fanin.report.sections.page_figure import PageFigure, name_values, round_number, round_numbers

MAX_PANELS = 60
MIN_RATES = 2

Trials = Mapping[float, Sequence[Result]]
"""Rate → its trials."""


def make_tuning_figure(analysis: Analysis) -> PageFigure | None:
    """The figure; None if no rate was tuned, or the trials are not in the store."""
    if not analysis.design.tuned:
        return None
    found = _group_trials(analysis)
    if not found:
        return None
    design, table = analysis.design, analysis.table
    values = list(dict.fromkeys(levels[design.compared] for levels in table.conditions))
    varying = [name for name in design.headings if name in design.varying]
    panels: dict[str, list[dict[str, Any]]] = {}
    for number, trials in found.items():
        levels = table.conditions[number]
        title = design.join_values({name: levels[name] for name in varying}) if varying else ""
        line = {"c": values.index(levels[design.compared]), "m": {"y": _make_line(trials)}}
        panels.setdefault(title, []).append(line)
    rates = sorted({rate for trials in found.values() for rate in trials})
    data = {
        "kind": "lines",
        "names": name_values(values, format_value),
        "axis": {"title": "learning rate (log)", "log": True},
        "ticks": [round_number(rate) for rate in rates],
        "metrics": [{"key": "y", "title": "validation loss"}],
        "panels": [
            {"title": escape_invisible(title), "lines": lines}
            for title, lines in list(panels.items())[:MAX_PANELS]
        ],
        "legend": True,
        "marks": True,
    }
    caption = (
        "Validation loss of the trials that chose the learning rates, on seeds that the evaluation "
        "does not use: means over their replicates, bands are the range. A flat valley forgives a "
        "rate that is not the best."
    )
    if any("lost" in line["m"]["y"] for lines in panels.values() for line in lines):
        caption += " × marks rates at which a trial diverged or failed."
    if len(panels) > MAX_PANELS:
        caption += f" Shown: the first {MAX_PANELS} of {len(panels)} panels."
    return PageFigure("Learning-rate sensitivity", caption, data)


def _group_trials(analysis: Analysis) -> dict[int, dict[float, list[Result]]]:
    """Number of a condition → its trials by rate; conditions with one rate are left out."""
    plan, numbers = analysis.plan, analysis.table.numbers
    own = {planned.cell.id for planned in plan.cells}
    settings: dict[str, tuple[int, set[int]]] = {}
    for planned, number in zip(plan.cells, numbers, strict=True):
        if planned.cell.replicate == 0:
            settings.setdefault(_identify(planned.cell), (number, set()))[1].add(planned.cell.seed)
    found: defaultdict[int, defaultdict[float, list[Result]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for result in _iterate_others(analysis.results, own):
        known = settings.get(_identify(result.cell))
        if known is not None and result.cell.seed not in known[1]:
            found[known[0]][result.cell.learning_rate].append(result)
    return {
        number: dict(sorted(trials.items()))
        for number, trials in sorted(found.items())
        if len(trials) >= MIN_RATES
    }


def _iterate_others(results: Mapping[str, Result], own: set[str]) -> Iterator[Result]:
    return (result for cell, result in results.items() if cell not in own)


def _identify(cell: Cell) -> str:
    """What a trial has in common with the cells whose rate it helps to choose."""
    nothing: dict[str, Any] = dict.fromkeys(name for name in SEEDS if name != "seed")
    return replace(cell, learning_rate=1.0, replicate=0, seed=0, tuned=False, **nothing).id


def _make_line(trials: Trials) -> dict[str, Any]:
    losses = [
        [result.metrics["val_loss"] for result in some if "val_loss" in result.metrics]
        for some in trials.values()
    ]
    lost = [sum(result.outcome != "ok" for result in some) for some in trials.values()]
    means = [sum(some) / len(some) if some else float("nan") for some in losses]
    line: dict[str, Any] = {"x": round_numbers(list(trials)), "y": round_numbers(means)}
    if any(len(some) > 1 for some in losses):
        line["lo"] = [round_number(min(some)) if some else None for some in losses]
        line["hi"] = [round_number(max(some)) if some else None for some in losses]
    if any(lost):
        line["lost"] = lost
    return line
