"""How a mutant is trained, and when its fault counts as harmful."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from sound_models.entry import Case, call, compute_loss
from torch import Tensor

from fanin import seeds

STEPS, BATCH, RATE = 200, 32, 2e-3
SEEDS = 5
"""Of a mutant; the sound twin has twice as many, because its spread is what harm is measured in."""
DEVIATIONS = 3.0
LEAST_SPREAD = 0.01
"""Of the uninformed loss: the smallest standard deviation that is used. A smaller difference would
be noticed by no one, however exactly the seeds agree."""

Verdict = Literal["worse", "alike", "better"]


def train(case: Case, seed: int, steps: int = STEPS) -> float:
    """The loss of the whole data after some steps of Adam on minibatches; inf if it is no number.

    Nothing but the arguments decides the result, and the global random state stays as it was.
    """
    trainable = [one for one in case.model.parameters() if one.requires_grad]
    if not trainable:
        return measure(case)
    optimizer = torch.optim.Adam(trainable, lr=RATE, fused=True)
    size = len(first_tensor(case.batch))
    generator = seeds.make_generator(seed, "order")
    case.model.train()
    with seeds.preserve_torch_state(seed):
        for _ in range(steps):
            chosen = torch.randint(size, (BATCH,), generator=generator)
            part = replace(case, batch=take(case.batch, chosen), target=take(case.target, chosen))
            output = call(part.model, part.batch)
            if not output.isfinite().all() or not output.requires_grad:
                break
            loss = compute_loss(part, output)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return measure(case)


def measure(case: Case) -> float:
    """The loss of the whole data, in train mode; infinite if it is no number."""
    with torch.no_grad():
        output = call(case.model, case.batch)
        loss = float(compute_loss(case, output)) if output.isfinite().all() else math.inf
    return loss if math.isfinite(loss) else math.inf


def take(value: Any, chosen: Tensor) -> Any:
    """These samples of a tensor, or of each in a tuple."""
    return tuple(one[chosen] for one in value) if isinstance(value, tuple) else value[chosen]


def first_tensor(batch: Any) -> Tensor:
    """The first input."""
    tensor: Tensor = batch[0] if isinstance(batch, tuple) else batch
    return tensor


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
