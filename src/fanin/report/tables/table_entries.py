"""Table entries: how one condition of a summary is written in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fanin.analysis.cell_table import OUTCOMES
from fanin.analysis.statistics import MIN_FOR_INTERVAL, estimate_proportion
from fanin.report.numbers import NumberFormat, choose_number_format
from fanin.report.tables.table import TableEntry


def choose_spread(planned: int, *, crossed: bool = False) -> str:
    """The suffix of the summary's column that follows ±, by planned replicates; empty for none.

    Runs that share seeds with one another, as `crossed` ones do, have no interval of the mean.
    """
    if crossed:
        return "_sd"
    return "_half_width" if planned >= MIN_FOR_INTERVAL else "_sd" if planned > 1 else ""


def choose_format(summary: pd.DataFrame, key: str, suffix: str) -> NumberFormat:
    """The format that a metric's numbers share in these rows of a summary."""
    if key == "mean_rank":
        return NumberFormat(1)
    values = [*summary[key], *(summary[f"{key}_median"][summary[key].isna()])]
    return choose_number_format(key, values, summary[key + suffix] if suffix else ())


def make_number_entry(
    group: Mapping[Any, Any], key: str, form: NumberFormat, suffix: str, *, best: bool
) -> TableEntry:
    """One metric of a summary's row: mean and spread, or the median if a replicate diverged."""
    value = float(group[key])
    if math.isfinite(value):
        spread = float(group[key + suffix]) if suffix and key != "mean_rank" else math.nan
        return TableEntry(
            form.text(value, spread), value, spread if math.isfinite(spread) else None, best
        )
    median = float(group.get(f"{key}_median", math.nan))
    if group["diverged"] and math.isfinite(median):
        return TableEntry(f"med {form.text(median)}")
    return TableEntry()


def describe_outcomes(group: Mapping[Any, Any], *, interval: bool = False) -> str:
    """``diverged``, ``2/5 diverged, 1/5 missing``, or nothing if every replicate finished; with
    ``interval`` also that of the rate: ``3/10 diverged (11–60 %)``.
    """
    planned = group["planned"]
    others = [(outcome, group[outcome]) for outcome in OUTCOMES[1:] if group[outcome]]
    if len(others) == 1 and others[0][1] == planned:
        return others[0][0]
    rate = describe_rate_interval(group) if interval and group["diverged"] else ""
    return ", ".join(
        f"{count}/{planned} {outcome}{rate if outcome == 'diverged' else ''}"
        for outcome, count in others
    )


def describe_rate_interval(group: Mapping[Any, Any]) -> str:
    """`` (11–60 %)``: Wilson's 95 % interval of the rate at which finished runs diverge, if there
    are as many as an interval needs.
    """
    finished = int(group["ok"] + group["diverged"])
    if finished < MIN_FOR_INTERVAL:
        return ""
    found = estimate_proportion(int(group["diverged"]), finished)
    return f" ({100 * found.low:.0f}–{100 * found.high:.0f} %)"
