"""Which metrics a training measures: those of its task, and those that a study adds."""

from __future__ import annotations

from dataclasses import replace

from fanin import registry
from fanin.data import DataInfo, Task
from fanin.errors import StudyError
from fanin.training.metrics.metric import REGISTRY, Metric

_OF_TASK: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy",),
    "regression": ("mae",),
    "token_classification": ("bits_per_character", "perplexity", "token_accuracy"),
    "autoencoding": ("squared_error",),
}
"""The metrics of each task, the main one first."""


def get_task_metrics(task: Task) -> tuple[Metric, ...]:
    """The metrics that a task always has, the main one first."""
    return tuple(REGISTRY.get(name) for name in _OF_TASK[task])


def _lend_copies(metric: Metric) -> Metric:
    """The metric; one of a user's or a plug-in's gets copies, which it may change in place."""
    score = metric.score
    if score is None or (registry.is_builtin(score) and not metric.user_spec):
        return metric
    return replace(
        metric,
        score=lambda outputs, y: score(outputs.clone(), y.clone()),
        measure=metric.measure or score,
    )


def select_metrics(info: DataInfo, further: tuple[str, ...]) -> tuple[Metric, ...]:
    """The metrics of a data set's task and the further ones, each once.

    Raises `StudyError` for a further metric that does not measure the task.
    """
    selected = {metric.name: metric for metric in get_task_metrics(info.task)}
    for spec in further:
        metric = REGISTRY.make(spec)
        if metric.tasks and info.task not in metric.tasks:
            fitting = ", ".join(other.name for other in REGISTRY if info.task in other.tasks)
            raise StudyError(
                f"{metric.name} does not measure {info.task}, the task of {info.name}. Use one of "
                f"{fitting}."
            )
        selected.setdefault(metric.name, _lend_copies(metric))
    return tuple(selected.values())
