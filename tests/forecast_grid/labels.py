"""Whether a start trains, from the trainings of its group; fixed before any forecast was made.

Of each seed the best learning rate counts. The skill of a training is (U − e) / (U − best), where e
is its validation error, U that of the best constant prediction and `best` the smallest median over
seeds that any initializer of the group reaches. A start trains if most seeds have a skill of
`TRAINS`, and does not train if most seeds have at most `FAILS`; all else is the grey zone, and so
is a group whose best initializer does not get `LEAST` of the way from U to 0.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any, Literal, get_args

TRAINS, FAILS = 0.8, 0.4
LEAST = 0.25

Label = Literal["trains", "fails", "grey"]
LABELS: tuple[Label, ...] = get_args(Label)


def find_best(errors: list[list[float]]) -> list[float]:
    """By rate and seed → the best of each seed."""
    return [min(of_seed) for of_seed in zip(*errors, strict=True)]


def label_group(
    errors: Mapping[str, list[list[float]]], uninformed: float
) -> dict[str, tuple[Label, list[float]]]:
    """The label of each initializer of a group, and the skills of its seeds.

    Args:
        errors: by initializer, rate and seed.
        uninformed: the error of the best constant prediction.
    """
    found = {start: find_best(rows) for start, rows in errors.items()}
    best = min(statistics.median(one) for one in found.values())
    gain = uninformed - best
    learned = math.isfinite(best) and gain >= LEAST * uninformed
    labels: dict[str, tuple[Label, list[float]]] = {}
    for start, of_seeds in found.items():
        skills = [(uninformed - one) / gain if gain > 0 else 0.0 for one in of_seeds]
        labels[start] = (_label(skills) if learned else "grey"), skills
    return labels


def _label(skills: list[float]) -> Label:
    most = len(skills) // 2 + 1
    if sum(one >= TRAINS for one in skills) >= most:
        return "trains"
    return "fails" if sum(one <= FAILS for one in skills) >= most else "grey"


def label_rows(rows: list[dict[str, Any]]) -> dict[tuple[str, str, int], Label]:
    """Rows of trainings → the label by group, initializer and number of steps. Groups that lack an
    initializer are left out.
    """
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], {})[row["start"]] = row
    found: dict[tuple[str, str, int], Label] = {}
    for name, starts in groups.items():
        first = next(iter(starts.values()))
        for index, steps in enumerate(first["steps"]):
            errors = {start: _read_errors(row["errors"][index]) for start, row in starts.items()}
            for start, (label, _) in label_group(errors, first["uninformed"]).items():
                found[name, start, steps] = label
    return found


def _read_errors(rows: list[list[float | None]]) -> list[list[float]]:
    return [[math.inf if one is None else one for one in row] for row in rows]
