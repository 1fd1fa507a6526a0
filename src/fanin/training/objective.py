"""Tasks: how the samples of a data set become a loss that is minimised and the metrics that are
reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin.data import DataInfo, Dataset, Prepared
from fanin.training import metrics
from fanin.training.metrics import Metric


@dataclass(frozen=True)
class Objective:
    """How batches become losses: the batch on its way in, the loss that is minimised, and the
    metrics in their own units.
    """

    info: DataInfo
    metrics: tuple[Metric, ...]
    """The main one first."""
    divisor: float = 1.0
    channels_last: bool = False
    scale: float = 1.0
    """Units of the target per unit of the loss' argument: 1, or the standard deviation that divided
    a regression target.
    """
    smoothing: float = 0.0

    @property
    def scored(self) -> tuple[Metric, ...]:
        """The metrics that are scored batch by batch."""
        return tuple(metric for metric in self.metrics if metric.score is not None)

    def batch(self, x: Tensor) -> Tensor:
        """Samples as the model takes them: fp32, divided, in the model's memory format; or tokens
        as int64.
        """
        if self.info.vocabulary is not None:
            return x.long()
        form = torch.channels_last if self.channels_last else torch.contiguous_format
        converted = x.to(torch.float32, memory_format=form)
        return converted.div_(self.divisor) if self.divisor != 1 else converted

    def targets(self, inputs: Tensor, y: Tensor) -> Tensor:
        """What the outputs are compared with: `y`, or the inputs themselves, flattened."""
        return inputs.flatten(1) if self.info.task == "autoencoding" else y

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """As `loss`, with labels smoothed: (1 − ε) of the label itself and ε spread evenly over all
        classes.

        Source: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016.
        """
        return self.loss(outputs, y, self.smoothing)

    def loss(self, outputs: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy (over the steps of sequences too), or mean squared error (over the
        outputs too).
        """
        match self.info.task:
            case "classification":
                return F.cross_entropy(outputs, y, label_smoothing=smoothing)
            case "token_classification":
                return F.cross_entropy(
                    outputs.flatten(0, 1), y.flatten(), label_smoothing=smoothing
                )
            case "regression" if y.ndim == 1:
                return F.mse_loss(outputs.squeeze(1), y)
        return F.mse_loss(outputs, y)

    def own_units(self, loss: float, scores: Sequence[float]) -> dict[str, float]:
        """loss and every metric by name, in the target's own units; `scores` are means, one for
        each of `scored`.
        """
        loss *= self.scale**2
        means = dict(zip((metric.name for metric in self.scored), scores, strict=True))
        values = {
            metric.name: metric.of_loss(loss)
            if metric.of_loss
            else means[metric.name] * self.scale**metric.power
            for metric in self.metrics
        }
        return {"loss": loss, **values}


def make_objective(
    dataset: Dataset,
    prepared: Prepared,
    *,
    channels_last: bool,
    further: tuple[str, ...],
    smoothing: float,
) -> Objective:
    """The task of a data set, as a cell's model and further metrics want it."""
    return Objective(
        info=dataset.info,
        metrics=metrics.chosen(dataset.info, further),
        divisor=prepared.divisor,
        channels_last=channels_last,
        scale=prepared.target_scale,
        smoothing=smoothing,
    )
