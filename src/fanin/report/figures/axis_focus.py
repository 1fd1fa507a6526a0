"""What sets an axis: what is far worse than the rest stands at its edge, with its number."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

_FAR = 3.0
"""How far conditions are from the rest to be left beyond the axis, in ranges of the rest."""


def select_focus(conditions: Sequence[list[float]], *, higher_is_better: bool) -> list[list[float]]:
    """The conditions that set the axis: all, or all but at most a third that are far worse.

    Far worse: their distance to the rest is more than `_FAR` times the range of the rest, so that
    the rest could not be told apart on an axis that holds all.
    """
    sign = 1 if higher_is_better else -1
    ranked = sorted(
        (values for values in conditions if values),
        key=lambda values: sign * statistics.median(values),
    )
    for worse in range(len(ranked) // 3, 0, -1):
        rest = [sign * value for values in ranked[worse:] for value in values]
        bad = [sign * value for values in ranked[:worse] for value in values]
        if min(rest) - max(bad) > _FAR * (max(rest) - min(rest)):
            return ranked[worse:]
    return list(conditions)


def find_far(conditions: Sequence[list[float]], *, higher_is_better: bool) -> list[bool]:
    """For each condition, whether it is far worse than those that set the axis."""
    focus = select_focus(conditions, higher_is_better=higher_is_better)
    kept = {id(values) for values in focus}
    return [bool(values) and id(values) not in kept for values in conditions]
