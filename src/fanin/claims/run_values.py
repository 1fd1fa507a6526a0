"""Run values: the number that is read from one training, and what stands for one that diverged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fanin.analysis.summary import is_higher_better
from fanin.cell.result import Result


class RunValue(Protocol):
    """From a result to a number."""

    @property
    def worst(self) -> float:
        """What stands for a diverged run: infinite, so that only its side counts."""

    def read(self, result: Result) -> float:
        """The number of a run that ended; nan if it is missing."""


@dataclass(frozen=True)
class Metric:
    """A metric of the result, such as ``test_accuracy``."""

    name: str = "test_accuracy"

    @property
    def worst(self) -> float:
        return -math.inf if is_higher_better(self.name, {}) else math.inf

    def read(self, result: Result) -> float:
        return result.metrics.get(self.name, math.nan)


@dataclass(frozen=True)
class EpochsToTarget:
    """The first epoch whose validation metric reaches a target; infinite if none does.

    It is the metric of every epoch that counts, never the epoch at which a training stopped. A
    protocol that stops early censors: such a run has not reached the target, and nothing is known
    beyond. So it is read from studies of the protocol ``full-length``.
    """

    target: float
    metric: str = "val_accuracy"
    worst: float = math.inf

    def read(self, result: Result) -> float:
        for epoch, value in enumerate(result.history[self.metric], 1):
            if value >= self.target:
                return float(epoch)
        return math.inf


@dataclass(frozen=True)
class GeneralizationGap:
    """Training accuracy of the best epoch minus test accuracy: how much of it does not carry over.

    The training accuracy is the running mean in training mode.
    """

    worst: float = math.inf

    def read(self, result: Result) -> float:
        best = int(result.metrics["best_epoch"]) - 1
        return result.history["accuracy"][best] - result.metrics["test_accuracy"]


@dataclass(frozen=True)
class LossIncreases:
    """The mean over epochs of how much the validation loss rose: max(0, loss_t − loss_(t − 1))."""

    worst: float = math.inf

    def read(self, result: Result) -> float:
        steps = np.diff(result.history["val_loss"])
        return float(np.maximum(steps, 0).mean()) if len(steps) else 0.0


@dataclass(frozen=True)
class IsLost:
    """1 for a run that diverged, 0 for one that ended."""

    worst: float = 1.0

    def read(self, result: Result) -> float:
        return 0.0
