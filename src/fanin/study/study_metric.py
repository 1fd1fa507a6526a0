"""The metric that a study's tables, differences and tuning look at, instead of the main one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fanin import data
from fanin.cell.cell import Cell
from fanin.cell.directions import strip_subset
from fanin.errors import StudyError, UnknownName
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.training.metrics import select_metrics

_COUNTS = ("epochs", "best_epoch")
"""What every result counts, and no tuning looks at."""

_SUBSETS = ("", "test_", "val_")


def list_metrics(cell: Cell) -> tuple[str, ...]:
    """The names without ``test_`` and ``val_`` of what the results of a cell have."""
    measured = select_metrics(data.describe(cell.data), cell.metrics)
    return ("loss", *(metric.name for metric in measured), *_COUNTS)


def check_metric(metric: str, cells: Iterable[Cell], *, is_tuned: bool = False) -> None:
    """Raise `UnknownName` if no cell measures a metric, and `StudyError` if rates are to be tuned
    by it and some cells do not.

    Args:
        metric: with ``test_`` or ``val_``, or without; empty for the main one.
        cells: of the study. What the user's own training measures is not known before.
        is_tuned: whether the study tunes learning rates.
    """
    if not metric:
        return
    kinds = {(cell.data, cell.metrics): cell for cell in cells if _is_known(cell)}
    if not kinds:
        return
    known = {kind: list_metrics(cell) for kind, cell in kinds.items()}
    names = dict.fromkeys(name for measured in known.values() for name in measured)
    base = strip_subset(metric)
    if base not in names or (base in _COUNTS and base != metric):
        raise UnknownName.suggest(
            "metric of this study",
            metric,
            names,
            also=[subset + name for subset in _SUBSETS for name in names if name not in _COUNTS],
            hint="test_ or val_ before the name chooses the subset; test_ is the default.",
        )
    lacking = next((kinds[kind] for kind, has in known.items() if base not in has), None)
    if is_tuned and base not in _COUNTS and lacking is not None:
        raise StudyError(
            f"Learning rates cannot be tuned by {metric}, which {lacking.data} does not measure. "
            "Leave out its cells (--only data=…), or choose a metric of all, such as loss."
        )


def tune_by(tuning: LearningRateTuning, metric: str) -> LearningRateTuning:
    """The tuning by the validation subset's value of a metric; as it is for counts of epochs."""
    base = strip_subset(metric)
    return tuning if not metric or base in _COUNTS else replace(tuning, metric=f"val_{base}")


def _is_known(cell: Cell) -> bool:
    return getattr(cell, "trainer", None) is None
