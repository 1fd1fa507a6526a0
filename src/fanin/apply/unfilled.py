"""What stays unfilled because fanin does not know it: how much, and what to do about it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from fanin.apply.model_parameters import is_matrix_like
from fanin.apply.planned_fill import PlannedFill
from fanin.errors import FitError, UnfilledWarning

MOST_UNKNOWN = 0.1
"""From this share of all numbers on, matrices of unknown role are a warning."""
_NAMED = 5

_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def require_known(plan: Sequence[PlannedFill], *, strict: bool) -> None:
    """Warn if much of the model would stay as it is because its role is not known.

    Raises `FitError` instead if `strict`.
    """
    unknown = [planned for planned in plan if _is_unknown(planned)]
    total = sum(_count(planned) for planned in plan)
    left = sum(map(_count, unknown))
    if left == 0 or left < MOST_UNKNOWN * total:
        return
    text = _describe(unknown, left / total)
    if strict:
        raise FitError(f"{text} Nothing was changed, since strict=True.")
    report_unfilled(text)


def report_unfilled(text: str) -> None:
    """Warn, or add to what `collect_unfilled` collects."""
    collected = _COLLECTED.get()
    if collected is None:
        warnings.warn(text, UnfilledWarning, stacklevel=4)
    else:
        collected.append(text)


@contextmanager
def collect_unfilled() -> Iterator[list[str]]:
    """Inside, what would be warned of is collected in a list instead."""
    collected: list[str] = []
    token = _COLLECTED.set(collected)
    try:
        yield collected
    finally:
        _COLLECTED.reset(token)


def _is_unknown(planned: PlannedFill) -> bool:
    """Whether a parameter that could hold maps is kept because its role is not known."""
    record, use = planned.records[0], planned.uses[0]
    return record.rule is None and record.reason == use.unknown and is_matrix_like(record.shape)


def _count(planned: PlannedFill) -> int:
    return math.prod(planned.records[0].shape)


def _describe(unknown: Sequence[PlannedFill], share: float) -> str:
    largest = sorted(unknown, key=_count, reverse=True)
    lines = [
        f"  {planned.records[0].name} {'×'.join(map(str, planned.records[0].shape))}: "
        f"{planned.records[0].reason}"
        for planned in largest[:_NAMED]
    ]
    if len(largest) > _NAMED:
        lines.append(f"  … ({len(largest)} in all)")
    return "\n".join(
        [
            f"{100 * share:.3g} % of the numbers of the model stay as they are, because fanin does "
            "not know what these parameters do:",
            *lines,
            "Give batch=… so that their use is seen, tell their axes by layouts={pattern: "
            "fanin.Layout(in_axis=…, out_axis=…)}, teach their class once by "
            "fanin.register_layer, or keep them by exclude=….",
        ]
    )
