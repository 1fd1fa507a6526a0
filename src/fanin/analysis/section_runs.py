"""SectionRuns: the runs of a section as matrices, a row per replicate, a column per compared value.

Made from a `CellTable` with numpy alone, so that thousands of results take milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanin.analysis.cell_table import CellTable
from fanin.analysis.design import Design
from fanin.analysis.factors import format_value
from fanin.analysis.summary import find_section_metric, is_higher_better

ABSENT, OK, DIVERGED, UNKNOWN = range(4)
"""States of a run: not run yet; with a value; diverged; failed, killed or without the metric."""

_STATES = {"ok": OK, "diverged": DIVERGED, "failed": UNKNOWN, "killed": UNKNOWN, "missing": ABSENT}

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SectionRuns:
    """The runs of one section, by replicate and compared value."""

    section: tuple[Any, ...]
    """Values of `Design.section`."""
    metric: str
    """The metric that ranks the section's conditions."""
    higher_is_better: bool
    names: tuple[str, ...]
    """The compared values, as `factors.format_value` writes them, in the plan's order."""
    values: Matrix
    """The metric, shape (replicates, names); nan unless the state is `OK`."""
    states: NDArray[np.int8]
    origins: NDArray[np.int_]
    """A number for each environment and fingerprint of the data: only runs of one are paired."""
    data: NDArray[np.int_] | None = None
    """A number for each fingerprint of the data; None if all have the same."""

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """The replicates in which every value has run to its end: with a value, or diverged."""
        return np.asarray(np.isin(self.states, (OK, DIVERGED)).all(axis=1), dtype=np.bool_)

    @cached_property
    def gains(self) -> Matrix:
        """The metric signed so that higher is better; −inf for a diverged run, nan for no value."""
        signed = self.values if self.higher_is_better else -self.values
        return np.where(self.states == DIVERGED, -math.inf, signed)

    def have_all(self, column: int) -> bool:
        """Whether every planned run of a value ended with a value."""
        return bool((self.states[:, column] == OK).all())


def arrange_sections(
    table: CellTable, design: Design, metric: str | None = None
) -> list[SectionRuns]:
    """The runs of each section that compares two or more values and has results, in the plan's
    order.

    Args:
        table: the cells.
        design: what is compared, and within what.
        metric: the metric to compare; by default the main one of each section.
    """
    return list(_arrange(table, design, metric))


def _arrange(table: CellTable, design: Design, metric: str | None) -> Iterator[SectionRuns]:
    states = np.array([_STATES[outcome] for outcome in table.outcomes], dtype=np.int8)
    origins, pairs = _number_origins(table), table.pair_rows(design.pairing[1:])
    data = _number([r.fingerprint if r else None for r in table.found])
    for key, rows in table.group_rows(design.section).items():
        numbers: dict[str, int] = {}
        columns = np.array(
            [
                numbers.setdefault(
                    format_value(table.conditions[table.numbers[row]][design.compared]),
                    len(numbers),
                )
                for row in rows
            ]
        )
        at = np.array(rows)
        ok = at[states[at] == OK].tolist()
        chosen = metric or find_section_metric(table, ok)
        if chosen is None or len(numbers) < 2 or chosen not in table.metrics:
            continue
        lines = _number([pairs[row] for row in rows])
        shape = int(lines.max()) + 1, len(numbers)
        values = np.full(shape, math.nan)
        values[lines, columns] = np.where(states[at] == OK, table.get_metric(chosen)[at], math.nan)
        found = np.zeros(shape, dtype=np.int8)
        found[lines, columns] = states[at]
        found[(found == OK) & np.isnan(values)] = UNKNOWN
        places, fingerprints = np.full(shape, -1), np.full(shape, -1)
        places[lines, columns], fingerprints[lines, columns] = origins[at], data[at]
        higher = is_higher_better(chosen, table.directions)
        names = tuple(numbers)
        yield SectionRuns(key, chosen, higher, names, values, found, places, fingerprints)


def _number_origins(table: CellTable) -> NDArray[np.int_]:
    """A number for each environment and data fingerprint; results share their environments."""
    keys = {id(r.environment): r.environment_key for r in table.found if r is not None}
    return _number([(keys[id(r.environment)], r.fingerprint) if r else None for r in table.found])


def _number(keys: Sequence[Hashable]) -> NDArray[np.int_]:
    """Equal keys as equal numbers, from 0 in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
