"""What a metric is: a frozen record by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fanin.data import Task
from fanin.registry import PlainEntry, Registry

Better = Literal["max", "min"]


@dataclass(frozen=True)
class Metric(PlainEntry):
    """A measure of predictions: one of `score`, `of_loss` and `of_set` is given.

    `score` maps a batch's outputs and targets to the sum of one number per sample, in float64; one
    that is not fanin's own gets copies. The mean over samples times ``target scale ** power`` is
    the metric in the target's own units.
    `of_loss` maps the mean loss, in the target's own units, to the metric.
    `of_set` maps the outputs and targets of a whole set to the metric, which is no mean over
    samples.
    """

    name: str
    summary: str
    better: Better
    tasks: tuple[Task, ...]
    """The tasks it can measure (`fanin.data.DataInfo`); empty for any."""
    score: Callable[[Tensor, Tensor], Tensor] | None = None
    power: int = 0
    of_loss: Callable[[float], float] | None = None
    of_set: Callable[[Tensor, Tensor], float] | None = None
    measure: Callable[..., object] | None = None
    """The code behind `score` that is not fanin's own, which may remember something."""
    user_spec: str = ""
    """The canonical spec of a user component; empty for a registered metric."""

    @property
    def spec(self) -> str:
        """The canonical spec."""
        return self.user_spec or self.name


REGISTRY: Registry[Metric, Metric] = Registry("metric", Metric)
