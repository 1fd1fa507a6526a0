"""Summary: one row per condition, such as an initializer of a model × data, over its replicates."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fanin.analysis import statistics
from fanin.analysis.cell_table import OUTCOMES, CellTable
from fanin.analysis.design import Design
from fanin.analysis.factors import FACTORS, LEADING, format_value
from fanin.cell.directions import find_direction, strip_subset

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = ("epochs", "best_epoch")
"""Metrics that count epochs, and rank nothing."""

SUFFIXES = ("", "_sd", "_half_width", "_median")
"""What follows a metric's name in the columns of a summary; the mean has the bare name."""


@dataclass(frozen=True)
class Summary:
    """One row per condition."""

    columns: Sequence[str]
    """In the order in which frames and files show them."""
    rows: Sequence[Mapping[str, Any]]
    """Column → value; None or nan where there is none."""


def summarise(table: CellTable, design: Design, *, crossed: bool = False) -> Summary:
    """One row per condition of a plan: sections in the plan's order, the compared values in each.

    Columns: the `LEADING` factors; planned and the number of cells of each outcome;
    divergence_rate; mean_rank; for each metric m its mean over the ok replicates as m, then m_sd,
    m_half_width (95 %, from 5 replicates on) and m_median; and the other factors. If a replicate
    diverged, there is no mean, and the median counts it as the worst value. mean_rank is over the
    replicates in which every condition of the section finished.

    Args:
        table: the cells.
        design: what is compared, and within what.
        crossed: whether runs share seeds with one another, which leaves no interval of a mean.
    """
    rows: list[dict[str, Any]] = []
    pairs = table.pair_rows(design.pairing[1:])
    for section in table.group_rows(design.section).values():
        compared = _split_rows(table, section, design.compared)
        mean_ranks = _compute_mean_ranks(table, pairs, compared)
        for value, members in compared.items():
            levels = table.conditions[table.numbers[members[0]]]
            summary = _summarise_condition(table, members)
            if crossed:
                summary |= {f"{metric}_half_width": math.nan for metric in table.metrics}
            rows.append({**levels, **summary, "mean_rank": mean_ranks.get(format_value(value))})
    columns = [
        *LEADING,
        *("planned", *OUTCOMES, "divergence_rate", "mean_rank"),
        *(metric + suffix for metric in table.metrics for suffix in SUFFIXES),
        *dict.fromkeys(name for name in (*FACTORS, *design.factors) if name not in LEADING),
    ]
    return Summary(columns, rows)


def list_metrics(frame: pd.DataFrame) -> list[str]:
    """The metrics among a frame's columns."""
    names = [str(name) for name in frame.columns]
    return names[names.index("outcome") + 1 : names.index("seconds")]


def find_main_metric(section: pd.DataFrame) -> str | None:
    """The metric that ranks a section's conditions: the plan's, if it was measured; else its test
    metric, or the test loss if it has no other. A user's own training that tests nothing is ranked
    by what it gives, or validates.
    """
    ok = section[section["outcome"] == "ok"]
    measured = [name for name in list_metrics(section) if ok[name].notna().any()]
    chosen = find_measured(str(section.attrs.get("metric", "")), measured)
    return chosen or choose_main_metric(measured)


def find_measured(metric: str, measured: Collection[str]) -> str | None:
    """A metric among those that were measured, as it is called or with ``test_`` or ``val_`` before
    it; None if it is empty or was not measured.
    """
    names = (metric, f"test_{metric}", f"val_{metric}") if metric else ()
    return next((name for name in names if name in measured), None)


def is_higher_better(metric: str, directions: Mapping[str, str] | None = None) -> bool:
    """Whether a higher metric is better: true of accuracies, F1 and PSNR, false of losses, errors,
    perplexities and numbers of epochs (`fanin.cell.directions`).

    Args:
        metric: its name, with or without ``val_`` or ``test_``.
        directions: ``max`` or ``min`` for users' metrics (`get_directions`).
    """
    base = strip_subset(metric)
    if directions and base in directions:
        return directions[base] == "max"
    return find_direction(base) == "max"


def rank_metric(name: str) -> tuple[int, bool]:
    """The order in which metrics rank conditions: measured on test, validation and other data, and
    of each the loss last.
    """
    place = {"test": 0, "val": 1}.get(name.partition("_")[0], 2)
    return place, strip_subset(name) == "loss"


def get_directions(frame: pd.DataFrame) -> Mapping[str, str]:
    """Which way users' metrics are better, by name: ``max`` or ``min``."""
    directions: Mapping[str, str] = frame.attrs.get("directions", {})
    return directions


def _split_rows(table: CellTable, rows: Sequence[int], factor: str) -> dict[Any, list[int]]:
    """The rows of each value of a factor, in order of appearance."""
    groups: dict[Any, list[int]] = {}
    for row in rows:
        groups.setdefault(table.conditions[table.numbers[row]][factor], []).append(row)
    return groups


def _summarise_condition(table: CellTable, rows: Sequence[int]) -> dict[str, Any]:
    counts = Counter(table.outcomes[row] for row in rows)
    ok = [row for row in rows if table.outcomes[row] == "ok"]
    summary: dict[str, Any] = {"planned": len(rows)}
    summary |= {outcome: counts[outcome] for outcome in OUTCOMES}
    summary["divergence_rate"] = statistics.compute_divergence_rate(counts["diverged"], len(ok))
    for metric in table.metrics:
        column = table.get_metric(metric)[ok]
        higher = is_higher_better(metric, table.directions)
        summary |= _summarise_metric(metric, column[~np.isnan(column)], counts["diverged"], higher)
    return summary


def _summarise_metric(
    metric: str, values: np.ndarray, diverged: int, higher: bool
) -> dict[str, float]:
    median = statistics.compute_median(values, diverged, higher_is_better=higher)
    if diverged:
        return dict(
            zip(
                (metric + suffix for suffix in SUFFIXES),
                (math.nan, math.nan, math.nan, median),
                strict=True,
            )
        )
    mean = statistics.estimate(values)
    numbers = (mean.mean, mean.sd, mean.half_width, median)
    return dict(zip((metric + suffix for suffix in SUFFIXES), numbers, strict=True))


def _compute_mean_ranks(
    table: CellTable, pairs: Sequence[Hashable], compared: Mapping[Any, Sequence[int]]
) -> dict[str, float]:
    """Compared value as text → its rank, averaged over the complete replicates of a section.

    Args:
        table: the cells.
        pairs: what each row shares with those that it is paired with.
        compared: the section's rows of each compared value.
    """
    metric = _find_section_metric(table, compared.values())
    if metric is None or len(compared) < 2:
        return {}
    values = table.get_metric(metric).tolist()
    replicates: defaultdict[Hashable, list[float]] = defaultdict(list)
    for row in itertools.chain(*compared.values()):
        if table.outcomes[row] == "diverged":
            replicates[pairs[row]].append(math.nan)
        elif table.outcomes[row] == "ok" and not math.isnan(values[row]):
            replicates[pairs[row]].append(values[row])
    complete = [values for values in replicates.values() if len(values) == len(compared)]
    if not complete:
        return {}
    higher = is_higher_better(metric, table.directions)
    ranks = statistics.rank_rows(np.array(complete, dtype=np.float64), higher_is_better=higher)
    names = map(format_value, compared)
    return dict(zip(names, map(float, np.mean(ranks, axis=0)), strict=True))


def _find_section_metric(table: CellTable, conditions: Iterable[Sequence[int]]) -> str | None:
    """As `find_main_metric`, of the rows of a section's conditions."""
    ok = [row for row in itertools.chain(*conditions) if table.outcomes[row] == "ok"]
    return find_section_metric(table, ok)


def find_section_metric(table: CellTable, ok: Sequence[int]) -> str | None:
    """As `find_main_metric`, of the rows of a section that trained to their end."""
    measured = [name for name in table.metrics if not np.isnan(table.get_metric(name)[ok]).all()]
    chosen = find_measured(table.plan.metric, measured)
    return chosen or choose_main_metric(measured)


def choose_main_metric(measured: Iterable[str]) -> str | None:
    """The first of the metrics measured on the best subset, a loss last."""
    ranked = [name for name in measured if name not in _COUNTS]
    return min(ranked, key=rank_metric, default=None)
