"""StoreComparison: two or more stores beside each other, condition by condition.

Conditions of two stores belong together if they agree in all factors that vary inside a store. What
is constant in each store but not the same in all is what the stores differ in: another learning
rate, another optimizer, or nothing but the machine. Runs are paired by replicate and seeds, so both
saw the same batches, dropout masks and normal draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fanin.analysis import statistics
from fanin.analysis.analysis import Analysis
from fanin.analysis.cell_table import CellTable
from fanin.analysis.design import Design, infer_design
from fanin.analysis.statistics import MIN_FOR_TEST
from fanin.analysis.summary import is_higher_better
from fanin.cell.plan import merge_plans
from fanin.cell.result import SETTLED, Result

ALPHA = 0.05

_NEVER_PAIRED = ("data", "protocol", "metrics")
"""A metric on other data, or by another protocol, is another quantity."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class StoredCondition:
    """The runs of one condition in one store."""

    values: Mapping[Key, float]
    """Replicate and seeds → the metric, of the runs that trained to their end."""
    fingerprints: Mapping[Key, str]
    """The same → the data."""
    planned: int
    outcomes: Mapping[str, int]


@dataclass(frozen=True)
class PairedChange:
    """Another store's runs minus those of the first."""

    estimate: statistics.Estimate
    p_value: float
    """Exact sign-flip test; nan below 10 pairs."""
    p_holm: float
    """The same after Holm's correction for all conditions of the store."""
    identical: int
    """Pairs whose metric is the same number."""
    judgement: str
    """``better``, ``worse``, ``equal``, ``cannot tell``, ``too few`` or ``no pairs``."""


@dataclass(frozen=True)
class ComparedCondition:
    """One condition in all stores."""

    values: Mapping[str, Any]
    """Factor → value, of the factors that vary."""
    metric: str
    higher_is_better: bool
    stored: tuple[StoredCondition, ...]
    """By store."""
    changes: tuple[PairedChange, ...]
    """Of each store after the first."""


@dataclass(frozen=True, eq=False)
class StoreComparison:
    """Some stores, compared with the first.

    Args:
        names: of the stores, all different.
        analyses: of each.
    """

    names: tuple[str, ...]
    analyses: tuple[Analysis, ...]

    @cached_property
    def table(self) -> CellTable:
        """All cells together, which gives every factor one set of names."""
        return CellTable(merge_plans([analysis.plan for analysis in self.analyses]), {})

    @cached_property
    def design(self) -> Design:
        """The design of all cells together."""
        return infer_design(self.table)

    @cached_property
    def differing(self) -> dict[str, tuple[Any, ...]]:
        """Factor → its value in each store, of the factors that only differ between stores."""
        found = {}
        for factor in self.table.factors:
            values = [self._list_values(number, factor) for number in range(len(self.names))]
            is_constant = all(len(some) == 1 for some in values)
            if is_constant and len({some[0] for some in values}) > 1:
                found[factor] = tuple(some[0] for some in values)
        return found

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The factors that tell conditions apart, in reading order."""
        tuned = any(analysis.design.tuned for analysis in self.analyses)
        return tuple(
            factor
            for factor in self.table.factors
            if not (tuned and factor == "learning_rate")
            and (factor not in self.differing or factor in _NEVER_PAIRED)
            and len({levels[factor] for levels in self.table.conditions}) > 1
        )

    @cached_property
    def conditions(self) -> tuple[ComparedCondition, ...]:
        """The conditions that two or more stores hold, in the first store's order."""
        stored = [self._collect(number) for number in range(len(self.names))]
        keys = dict.fromkeys(key for some in stored for key in some)
        shared = [key for key in keys if sum(key in some for some in stored) > 1]
        found = []
        for key in shared:
            runs = [some.get(key, []) for some in stored]
            metric = _find_metric(runs)
            if metric is not None:
                found.append((key, metric, [_store_condition(some, metric) for some in runs]))
        return tuple(self._compare(found))

    @property
    def shared_cells(self) -> int:
        """Cells that have a settled result in two stores or more."""
        counts = Counter(
            result.cell.id
            for analysis in self.analyses
            for result in analysis.planned_results
            if result.outcome in SETTLED
        )
        return sum(count > 1 for count in counts.values())

    @property
    def is_one_study(self) -> bool:
        """Whether the stores are parts of one study: the same question, no cell in two of them,
        and nothing that only differs between them.
        """
        plans = {(analysis.plan.study, analysis.plan.question) for analysis in self.analyses}
        return len(plans) == 1 and not self.shared_cells and not self.differing

    def _list_values(self, store: int, factor: str) -> list[Any]:
        levels = (self._levels[planned.cell.id] for planned in self.analyses[store].plan.cells)
        return list(dict.fromkeys(one[factor] for one in levels))

    @cached_property
    def _levels(self) -> dict[str, Mapping[str, Any]]:
        """Cell id → the values of its factors."""
        return {
            planned.cell.id: self.table.conditions[number]
            for planned, number in zip(self.table.plan.cells, self.table.numbers, strict=True)
        }

    def _collect(self, store: int) -> dict[Key, list[tuple[Key, Result | None]]]:
        """Condition → (what a run is paired by, its result) of a store."""
        analysis = self.analyses[store]
        pairs = analysis.table.pair_rows(self.table.varying_seeds)
        found: dict[Key, list[tuple[Key, Result | None]]] = {}
        for planned, pair, result in zip(
            analysis.plan.cells, pairs, analysis.table.found, strict=True
        ):
            levels = self._levels[planned.cell.id]
            key = tuple(levels[factor] for factor in self.varying)
            found.setdefault(key, []).append((pair, result))
        return found

    def _compare(
        self, found: Sequence[tuple[Key, str, list[StoredCondition]]]
    ) -> Iterator[ComparedCondition]:
        directions = {
            name: way
            for analysis in self.analyses
            for name, way in analysis.table.directions.items()
        }
        changes = [
            _compare_store(
                [
                    (stored[0], stored[number], is_higher_better(metric, directions))
                    for _, metric, stored in found
                ]
            )
            for number in range(1, len(self.names))
        ]
        for row, (key, metric, stored) in enumerate(found):
            yield ComparedCondition(
                dict(zip(self.varying, key, strict=True)),
                metric,
                is_higher_better(metric, directions),
                tuple(stored),
                tuple(some[row] for some in changes),
            )


def _find_metric(runs: Sequence[Sequence[tuple[Key, Result | None]]]) -> str | None:
    """The test metric that the most stores measured, before the test loss."""
    counts: Counter[str] = Counter()
    for some in runs:
        ok = [result for _, result in some if result is not None and result.outcome == "ok"]
        counts.update(
            {name for result in ok for name in result.metrics if name.startswith("test_")}
        )
    return max(sorted(counts), key=lambda name: (counts[name], name != "test_loss"), default=None)


def _store_condition(runs: Sequence[tuple[Key, Result | None]], metric: str) -> StoredCondition:
    ok = {
        pair: result
        for pair, result in runs
        if result is not None and result.outcome == "ok" and metric in result.metrics
    }
    return StoredCondition(
        {pair: result.metrics[metric] for pair, result in ok.items()},
        {pair: result.fingerprint for pair, result in ok.items()},
        len(runs),
        Counter(result.outcome if result is not None else "missing" for _, result in runs),
    )


def _compare_store(
    pairs: Sequence[tuple[StoredCondition, StoredCondition, bool]],
) -> list[PairedChange]:
    """The changes of a store's conditions, corrected for their number."""
    differences = [
        [
            other.values[pair] - first.values[pair]
            for pair in first.values
            if pair in other.values and first.fingerprints[pair] == other.fingerprints[pair]
        ]
        for first, other, _ in pairs
    ]
    p_values = [
        statistics.compute_flip_p_value(some) if len(some) >= MIN_FOR_TEST else math.nan
        for some in differences
    ]
    corrected = statistics.correct_holm(p_values).tolist() if p_values else p_values
    return [
        _judge(some, p, p_holm, higher)
        for some, p, p_holm, (_, _, higher) in zip(
            differences, p_values, corrected, pairs, strict=True
        )
    ]


def _judge(differences: Sequence[float], p: float, p_holm: float, higher: bool) -> PairedChange:
    estimate = statistics.estimate(differences)
    identical = sum(value == 0 for value in differences)
    if not differences:
        judgement = "no pairs"
    elif identical == len(differences):
        judgement = "equal"
    elif math.isnan(p_holm):
        judgement = "too few"
    elif p_holm <= ALPHA:
        judgement = "better" if (estimate.mean > 0) == higher else "worse"
    else:
        judgement = "cannot tell"
    return PairedChange(estimate, p, p_holm, identical, judgement)
