"""CellTable: a plan and its results as plain columns, which frames, design and summary start from.

Nothing here needs pandas, whose import takes longer than to read thousands of results.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanin.analysis.factors import (
    FACTORS,
    SEEDS,
    Levels,
    identify_levels,
    list_option_axes,
    name_factors,
    sort_for_reading,
)
from fanin.cell.plan import Plan
from fanin.cell.result import Result

OUTCOMES = ("ok", "diverged", "failed", "killed", "missing")

Key = tuple[Any, ...]

_read_seeds = operator.attrgetter(*SEEDS)


@dataclass(frozen=True)
class CellTable:
    """One row per planned cell, in the plan's order.

    Rows of a condition, which differ in their randomness only, share their factors. A column that
    mixes integers with other numbers holds floats, as that of a frame does.
    """

    plan: Plan
    results: Mapping[str, Result]
    """By cell id. Results of other cells are ignored."""

    @cached_property
    def found(self) -> list[Result | None]:
        """The result of each row."""
        return [self.results.get(planned.cell.id) for planned in self.plan.cells]

    @cached_property
    def outcomes(self) -> list[str]:
        """The outcome of each row, ``missing`` without a result."""
        return [result.outcome if result else "missing" for result in self.found]

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that any result has."""
        return tuple(dict.fromkeys(itertools.chain.from_iterable(self._measured)))

    def get_metric(self, name: str) -> NDArray[np.float64]:
        """A metric of each row; nan in those without it."""
        return self._columns[name]

    @cached_property
    def directions(self) -> dict[str, str]:
        """Which way users' metrics are better, as results recorded it: metric, without ``val_`` or
        ``test_`` → ``max`` or ``min``.
        """
        given = (result.data.get("metrics") for result in self.found if result)
        return {
            str(name): str(way)
            for ways in given
            if isinstance(ways, Mapping)
            for name, way in ways.items()
        }

    @cached_property
    def dotted(self) -> tuple[str, ...]:
        """The factors that are options of a field, such as ``model.depth``."""
        return list_option_axes(self._distinct)

    @cached_property
    def factors(self) -> tuple[str, ...]:
        """All factors in reading order."""
        return sort_for_reading([*FACTORS, *self.dotted])

    @cached_property
    def conditions(self) -> list[Levels]:
        """The factors' values as tables show them, of each condition in order of appearance."""
        shown = name_factors(self._distinct)
        columns = {name: _unify([levels[name] for levels in shown]) for name in self.factors}
        return [
            {name: values[number] for name, values in columns.items()}
            for number in range(len(shown))
        ]

    @cached_property
    def numbers(self) -> list[int]:
        """The number of each row's condition, from 0."""
        numbers: dict[Hashable, int] = {}
        return [numbers.setdefault(key, len(numbers)) for key in self._keys]

    def list_replicates(self) -> list[int]:
        """The replicate of each row."""
        return [planned.cell.replicate for planned in self.plan.cells]

    def list_seed(self, name: str) -> list[int | str]:
        """A seed of each row; "" if it is derived."""
        seeds = (getattr(planned.cell, name) for planned in self.plan.cells)
        return ["" if seed is None else seed for seed in seeds]

    @cached_property
    def varying_seeds(self) -> tuple[str, ...]:
        """The seeds that have more than one value."""
        seeds = {_read_seeds(planned.cell) for planned in self.plan.cells}
        columns = zip(SEEDS, zip(*seeds, strict=True), strict=False)  # none without cells
        return tuple(name for name, values in columns if len(set(values)) > 1)

    def group_rows(self, factors: Sequence[str]) -> dict[Key, list[int]]:
        """The rows of each combination of the factors' values, in order of appearance."""
        groups: defaultdict[Key, list[int]] = defaultdict(list)
        keys = [tuple(levels[name] for name in factors) for levels in self.conditions]
        for row, number in enumerate(self.numbers):
            groups[keys[number]].append(row)
        return groups

    def pair_rows(self, seeds: Iterable[str]) -> list[Key]:
        """What each row shares with the rows that it may be paired with: replicate and seeds."""
        return list(zip(self.list_replicates(), *map(self.list_seed, seeds), strict=True))

    @cached_property
    def _measured(self) -> list[Mapping[str, float]]:
        return [result.metrics if result else {} for result in self.found]

    @cached_property
    def _columns(self) -> dict[str, NDArray[np.float64]]:
        """The metrics. Rows that have the same ones are read together."""
        alike: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, metrics in enumerate(self._measured):
            alike[tuple(metrics)].append(row)
        columns = {name: np.full(len(self._measured), math.nan) for name in self.metrics}
        for names, rows in alike.items():
            values = np.array([[*self._measured[row].values()] for row in rows], dtype=np.float64)
            for name, column in zip(names, values.T, strict=True):
                columns[name][rows] = column
        return columns

    @cached_property
    def _keys(self) -> list[Hashable]:
        return [identify_levels(planned) for planned in self.plan.cells]

    @cached_property
    def _distinct(self) -> Plan:
        """The plan with one cell of each condition."""
        cells = dict(zip(reversed(self._keys), reversed(self.plan.cells), strict=True))
        return replace(self.plan, cells=tuple(cells[key] for key in dict.fromkeys(self._keys)))


def _unify(values: list[Any]) -> list[Any]:
    """Numbers of several types as floats; anything else unchanged."""
    types = set(map(type, values))
    return [*map(float, values)] if types == {int, float} else values
