"""Metrics by spec, and those of a task."""

from __future__ import annotations

from fanin.data import DataInfo
from fanin.errors import StudyError
from fanin.training.metrics.metric import REGISTRY, Metric

_OWN: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy",),
    "regression": ("mae",),
    "token_classification": ("bits_per_character", "perplexity", "token_accuracy"),
    "autoencoding": ("squared_error",),
}
"""Task → its metrics, the main one first."""


def get_task_metrics(task: str) -> tuple[Metric, ...]:
    """The metrics that a task has without being asked, the main one first."""
    return tuple(REGISTRY.get(name) for name in _OWN[task])


def select_metrics(info: DataInfo, further: tuple[str, ...]) -> tuple[Metric, ...]:
    """The task's own metrics and the further ones, each once.

    Raises `StudyError` for one that does not measure the task.
    """
    own = get_task_metrics(info.task)
    found = {metric.name: metric for metric in own}
    for spec in further:
        metric = REGISTRY.make(spec)
        if metric.tasks and info.task not in metric.tasks:
            fitting = ", ".join(other.name for other in REGISTRY if info.task in other.tasks)
            raise StudyError(
                f"{metric.name} does not measure {info.task}, the task of {info.name}. Metrics for "
                f"it: {fitting}."
            )
        found.setdefault(metric.name, metric)
    return tuple(found.values())
