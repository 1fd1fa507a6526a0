"""SeedVariance: which seed the spread between runs comes from, if a study crosses its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanin.analysis import statistics
from fanin.analysis.cell_table import CellTable
from fanin.analysis.design import Design
from fanin.analysis.factors import format_value
from fanin.analysis.statistics import VarianceComponents
from fanin.analysis.summary import choose_main_metric

SEED_TITLES = {
    "init_seed": "weights",
    "order_seed": "order",
    "dropout_seed": "dropout",
    "split_seed": "split",
    "augment_seed": "augmentation",
}
"""What a seed draws: initial weights, the order of the samples, …, what is held out."""


@dataclass(frozen=True)
class SeedVariance:
    """The variance components of one condition whose seeds are crossed."""

    section: tuple[Any, ...]
    """Values of `Design.section`."""
    value: str
    """The compared value, as `factors.format_value` writes it."""
    metric: str
    seeds: tuple[str, ...]
    """The crossed seeds, in words."""
    runs: int
    missing: int
    """Combinations of seeds without a value: not run yet, failed or diverged."""
    components: VarianceComponents | None
    """None if a combination has no value."""


def split_variance(table: CellTable, design: Design) -> tuple[SeedVariance, ...]:
    """The components of each condition in which every combination of the varying seeds is planned
    once; empty if fewer than two seeds vary.
    """
    seeds = [name for name in table.varying_seeds if name in SEED_TITLES]
    if len(seeds) < 2:
        return ()
    found = []
    for section, rows in table.group_rows(design.section).items():
        groups: dict[str, list[int]] = {}
        for row in rows:
            value = format_value(table.conditions[table.numbers[row]][design.compared])
            groups.setdefault(value, []).append(row)
        for value, members in groups.items():
            if (one := _split_condition(table, seeds, section, value, members)) is not None:
                found.append(one)
    return tuple(found)


def _split_condition(
    table: CellTable, seeds: Sequence[str], section: tuple[Any, ...], value: str, rows: list[int]
) -> SeedVariance | None:
    ok = [row for row in rows if table.outcomes[row] == "ok"]
    metric = choose_main_metric(
        name
        for name in table.metrics
        if name.startswith("test_") and not np.isnan(table.get_metric(name)[ok]).all()
    )
    if metric is None:
        return None
    columns = {name: table.list_seed(name) for name in seeds}
    # Seed → its place among those of this condition.
    places = {
        name: {seed: at for at, seed in enumerate(dict.fromkeys(column[row] for row in rows))}
        for name, column in columns.items()
    }
    crossed = [name for name in seeds if len(places[name]) > 1]
    values = np.full([len(places[name]) for name in crossed], math.nan)
    if len(crossed) < 2 or values.size != len(rows):
        return None
    planned = np.zeros(values.shape, dtype=np.int64)
    measured = table.get_metric(metric)
    for row in rows:
        at = tuple(places[name][columns[name][row]] for name in crossed)
        planned[at] += 1
        if table.outcomes[row] == "ok":
            values[at] = measured[row]
    if (planned != 1).any():
        return None
    missing = int(np.isnan(values).sum())
    names = tuple(SEED_TITLES[name] for name in crossed)
    components = None if missing else statistics.estimate_components(values, names)
    return SeedVariance(section, value, metric, names, values.size, missing, components)
