"""The study's table: one row per initializer of a model × data, in the case study's own columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from fanin.analysis.frames import FACTORS, OUTCOMES, cells_frame
from fanin.analysis.ranking import Verdict, verdicts
from fanin.analysis.statistics import MIN_FOR_INTERVAL
from fanin.analysis.summary import SECTION, metric_names, sections, summarise
from fanin.report import notes
from fanin.report.numbers import NumberFormat, number_format
from fanin.report.table import Column, Entry, Table

if TYPE_CHECKING:
    from fanin.study.plan import Plan
    from fanin.study.result import Result

_TITLES = {"data": "data", "max_epochs": "max epochs", "test_mae": "test MAE"}


def study_table(plan: Plan, results: Mapping[str, Result]) -> Table:
    """The table of a plan's results.

    With several replicates a number is their mean, ± the half-width of its 95 % interval (from 5 planned replicates on) or the
    standard deviation (below). Where a replicate diverged there is no mean but the median (``med``), with the share of diverged
    runs and the mean rank beside it. A best value is marked only where paired intervals over at least 10 replicates allow it.
    """
    frame = cells_frame(plan, results)
    title = f"{plan.study}: {plan.question}" if plan.question else plan.study
    if not len(frame) or (frame["outcome"] == "missing").all():
        return Table(title, (), (), notes=notes.sentences(plan.notes), empty=notes.nothing_yet(len(frame)))
    judged = verdicts(frame)
    columns = _columns(frame)
    rows = [row for section in _summaries(frame) for row in _section_rows(section, columns, judged)]
    return Table(title, columns, tuple(rows), notes=notes.all_notes(plan, frame, results, judged))


def spread_suffix(planned: int) -> str:
    """Which column of a summary stands after ±, by the number of replicates planned; empty for none."""
    return "_half_width" if planned >= MIN_FOR_INTERVAL else "_sd" if planned > 1 else ""


def _summaries(frame: pd.DataFrame) -> list[pd.DataFrame]:
    return [section for _, section in sections(summarise(frame))]


def _columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    varying = [name for name in SECTION[2:] if frame[name].nunique() > 1]
    heads = [Column(name, _title(name), numeric=False, heads_section=True) for name in (*SECTION[:2], *varying)]
    finished = frame[frame["outcome"].isin(("ok", "diverged"))]
    metrics = [Column(name, _title(name)) for name in _shown_metrics(finished)]
    replicated = bool(frame.groupby(list(FACTORS), dropna=False).size().max() > 1)
    count = [Column("n", "n")] if replicated else []
    rank = [Column("mean_rank", "rank")] if replicated and (frame["outcome"] == "diverged").any() else []
    outcome = [Column("outcome", "outcome", numeric=False)] if (frame["outcome"] != "ok").any() else []
    return (*heads, Column("initializer", "initializer", numeric=False), *metrics, *count, *rank, *outcome)


def _shown_metrics(finished: pd.DataFrame) -> list[str]:
    """Validation accuracy, the test metrics, test loss and epochs, as far as any run has them."""
    ok = finished[finished["outcome"] == "ok"]
    measured = [name for name in metric_names(finished) if ok[name].notna().any()]
    tests = sorted(name for name in measured if name.startswith("test_") and name != "test_loss")
    return [name for name in ("val_accuracy", *tests, "test_loss", "epochs") if name in measured]


def _section_rows(section: pd.DataFrame, columns: tuple[Column, ...], judged: list[Verdict]) -> list[tuple[Entry, ...]]:
    suffix = spread_suffix(int(section["planned"].max()))
    formats = {
        column.key: _format(section, column.key, suffix) for column in columns if column.key in section and column.numeric
    }
    best = {(*verdict.section, verdict.best, verdict.metric) for verdict in judged if verdict.best}
    return [
        tuple(_entry(group, column.key, formats, suffix, best) for column in columns) for group in section.to_dict("records")
    ]


def _format(section: pd.DataFrame, key: str, suffix: str) -> NumberFormat:
    if key == "mean_rank":
        return NumberFormat(1)
    values = [*section[key], *(section[f"{key}_median"][section[key].isna()])]
    return number_format(key, values, section[key + suffix] if suffix else ())


def _entry(
    group: Mapping[Any, Any], key: str, formats: Mapping[str, NumberFormat], suffix: str, best: set[tuple[Any, ...]]
) -> Entry:
    if key == "n":
        return Entry(str(group["ok"]), group["ok"])
    if key == "outcome":
        text = outcome_text(group)
        return Entry(text, text)
    if key not in formats:
        text = str(group[key]) or "default"
        return Entry(text, group[key])
    return _number(group, key, formats[key], suffix, best)


def _number(group: Mapping[Any, Any], key: str, form: NumberFormat, suffix: str, best: set[tuple[Any, ...]]) -> Entry:
    value = float(group[key])
    if math.isfinite(value):
        spread = float(group[key + suffix]) if suffix and key != "mean_rank" else math.nan
        marked = (*(group[name] for name in SECTION), group["initializer"], key) in best
        return Entry(form.text(value, spread), value, spread if math.isfinite(spread) else None, marked)
    median = float(group.get(f"{key}_median", math.nan))
    if group["diverged"] and math.isfinite(median):
        return Entry(f"med {form.text(median)}")
    return Entry()


def outcome_text(group: Mapping[Any, Any]) -> str:
    """``diverged``, ``2/5 diverged, 1/5 missing``, or nothing where every replicate trained to its end."""
    planned = group["planned"]
    others = [(outcome, group[outcome]) for outcome in OUTCOMES[1:] if group[outcome]]
    if len(others) == 1 and others[0][1] == planned:
        return others[0][0]
    return ", ".join(f"{count}/{planned} {outcome}" for outcome, count in others)


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " "))
