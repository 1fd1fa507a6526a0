"""When the fault of a mutant counts as harmful."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from sound_models.entry import Case

SEEDS = 5
"""Of a mutant; the sound twin has twice as many, because its spread is what harm is measured in."""
DEVIATIONS = 3.0
LEAST_SPREAD = 0.01
"""Of the uninformed loss: the smallest standard deviation that is used. A smaller difference would
be noticed by no one, however exactly the seeds agree."""

Verdict = Literal["worse", "alike", "better"]


@dataclass(frozen=True)
class Spread:
    """The losses of the sound twin after training, over seeds."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, losses: Sequence[float], uninformed: float) -> Spread:
        """With the smallest deviation that is used."""
        deviation = max(statistics.stdev(losses), LEAST_SPREAD * uninformed)
        return cls(statistics.mean(losses), deviation)

    def judge(self, losses: Sequence[float]) -> Verdict:
        """Whether a mutant's mean loss is more than three deviations from the twin's."""
        difference = (statistics.mean(losses) - self.mean) / self.deviation
        if difference > DEVIATIONS or math.isinf(difference):
            return "worse"
        return "better" if difference < -DEVIATIONS else "alike"


def get_uninformed(case: Case) -> float:
    """The loss of a guess that knows the frequencies or the mean of the target alone."""
    target = case.target
    if not target.is_floating_point():
        share = torch.bincount(target.flatten()).float() / target.numel()
        return float(-(share[share > 0] * share[share > 0].log()).sum())
    if case.loss is not None:
        share = target.mean()
        return float(-(share * share.log() + (1 - share) * (1 - share).log()))
    return float((target - target.mean(0)).square().mean())
