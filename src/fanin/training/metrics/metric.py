"""What a metric is: a frozen record by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fanin.registry import PlainEntry, Registry

Better = Literal["max", "min"]


@dataclass(frozen=True)
class Metric(PlainEntry):
    """A measure of predictions.

    `score` gives the sum over a batch, float64, of a number per sample, from the model's outputs
    and the targets; the mean over samples times ``target scale ** power`` is the metric in the
    target's own units. Where `of_loss` is given the metric is that function of the mean loss in own
    units, and nothing is scored.
    """

    name: str
    summary: str
    better: Better
    tasks: tuple[str, ...]
    """The tasks it can measure (`fanin.data.DataInfo`); empty for any."""
    score: Callable[[Tensor, Tensor], Tensor] | None = None
    power: int = 0
    of_loss: Callable[[float], float] | None = None
    user_spec: str = ""
    """The canonical spec of a user component; empty for a registered metric."""

    @property
    def spec(self) -> str:
        """The canonical spec."""
        return self.user_spec or self.name


REGISTRY: Registry[Metric, Metric] = Registry("metric", Metric)
