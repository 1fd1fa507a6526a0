"""The objective of a training: the loss that is minimised and the metrics that are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin import registry
from fanin.data import DataInfo, Dataset, Prepared
from fanin.models import ModelEntry
from fanin.training import metrics
from fanin.training.metrics import Metric


@dataclass(frozen=True)
class Objective:
    """How a batch of a data set becomes a loss and metrics."""

    info: DataInfo
    metrics: tuple[Metric, ...]
    """The main one first."""
    divisor: float = 1.0
    """What inputs are divided by, such as 255 for images."""
    channels_last: bool = False
    scale: float = 1.0
    """Units of the target per unit of the model's output: 1, or the standard deviation that a
    regression target was divided by.
    """
    smoothing: float = 0.0
    """The share ε of `compute_training_loss`."""
    lends_copies: bool = False
    """Whether the model gets inputs of its own. Built-in models change none in place."""

    @property
    def scored(self) -> tuple[Metric, ...]:
        """The metrics that are computed batch by batch; the others follow from the loss."""
        return tuple(metric for metric in self.metrics if metric.score is not None)

    @property
    def measures_by_user_code(self) -> bool:
        """Whether a metric is not fanin's own."""
        return any(metric.measure is not None for metric in self.metrics)

    def prepare_inputs(self, x: Tensor) -> Tensor:
        """Inputs as the model takes them: fp32, divided, in its memory format; tokens as int64."""
        if self.info.vocabulary is not None:
            return x.long()
        form = torch.channels_last if self.channels_last else torch.contiguous_format
        converted = x.to(torch.float32, memory_format=form)
        return converted.div_(self.divisor) if self.divisor != 1 else converted

    def prepare_targets(self, inputs: Tensor, y: Tensor) -> Tensor:
        """What the outputs are compared with: `y`, or for an autoencoder the inputs, flattened."""
        return inputs.flatten(1) if self.info.task == "autoencoding" else y

    def lend_inputs(self, inputs: Tensor, *others: Tensor) -> Tensor:
        """The inputs for the model: a copy if it may change them and they share memory with others,
        which are the data themselves, or targets.
        """
        if self.lends_copies and any(_share_memory(inputs, other) for other in others):
            return inputs.clone()
        return inputs

    def compute_training_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`compute_loss` with smoothed labels: 1 − ε on the label and ε spread over all classes.

        Source: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016.
        """
        return self.compute_loss(outputs, targets, self.smoothing)

    def compute_loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy or mean squared error, depending on the task.

        The mean is over samples, and over steps of a sequence or outputs if there are several.
        """
        match self.info.task:
            case "classification":
                return F.cross_entropy(outputs, targets, label_smoothing=smoothing)
            case "token_classification":
                return F.cross_entropy(
                    outputs.flatten(0, 1), targets.flatten(), label_smoothing=smoothing
                )
            case "regression" if targets.ndim == 1:
                return F.mse_loss(outputs.squeeze(1), targets)
        return F.mse_loss(outputs, targets)

    def convert_to_own_units(self, loss: float, scores: Sequence[float]) -> dict[str, float]:
        """The loss and every metric by name, in the target's own units.

        Args:
            loss: mean loss.
            scores: mean scores, one for each metric of `scored`.
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
    model: ModelEntry,
    further_metrics: tuple[str, ...],
    smoothing: float,
) -> Objective:
    """The objective for a data set, with the metrics of its task and `further_metrics` (specs)."""
    return Objective(
        info=dataset.info,
        metrics=metrics.select_metrics(dataset.info, further_metrics),
        divisor=prepared.divisor,
        channels_last=model.channels_last,
        scale=prepared.target_scale,
        smoothing=smoothing,
        lends_copies=not registry.is_builtin(model.build),
    )


def _share_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
