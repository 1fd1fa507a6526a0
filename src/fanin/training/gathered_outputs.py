"""The scores of an epoch or of an evaluation, batch by batch, for each metric of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fanin.training.metrics import Metric


@dataclass
class GatheredOutputs:
    """The outputs and targets of all batches, for a metric of the whole set."""

    outputs: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)


Total = Tensor | GatheredOutputs
"""What a metric has gathered so far: a sum of scores, or the outputs themselves."""


def make_totals(metrics: Sequence[Metric], device: torch.device | str = "cpu") -> list[Total]:
    """A total for each metric, with nothing in it."""
    return [
        GatheredOutputs()
        if metric.of_set is not None
        else torch.zeros((), dtype=torch.float64, device=device)
        for metric in metrics
    ]


def add_scores(
    metrics: Sequence[Metric], totals: Sequence[Total], outputs: Tensor, targets: Tensor
) -> None:
    """Add a batch to the totals, in place. Nothing is fetched from the device."""
    for total, metric in zip(totals, metrics, strict=True):
        if isinstance(total, GatheredOutputs):
            # copies: outputs of a user's model may be views of its weights
            total.outputs.append(outputs.clone())
            total.targets.append(targets)
        elif metric.score is not None:
            total += metric.score(outputs, targets)


def average_scores(metrics: Sequence[Metric], totals: Sequence[Total], n: int) -> list[float]:
    """The mean scores over n samples, and the metrics of the whole set."""
    averages = []
    for total, metric in zip(totals, metrics, strict=True):
        if not isinstance(total, GatheredOutputs):
            averages.append(float(total) / n)
        elif metric.of_set is not None:
            gathered = torch.cat(total.outputs).cpu(), torch.cat(total.targets).cpu()
            averages.append(metric.of_set(*gathered))
    return averages
