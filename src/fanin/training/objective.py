"""The objective of a training: the loss that is minimised and the metrics that are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin import registry
from fanin.data import DataInfo, Dataset, Prepared
from fanin.models import ModelEntry
from fanin.models.main_output import pick_output
from fanin.training import metrics, user_loss
from fanin.training.gathered_outputs import Total, make_totals
from fanin.training.metrics import Metric
from fanin.training.user_loss import LossFunction


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
    own_loss: LossFunction | None = None
    """A user's loss; None for that of the task."""

    @cached_property
    def scored(self) -> tuple[Metric, ...]:
        """The metrics that are computed from outputs; the others follow from the loss.

        With a user's loss, those that follow from the task's are computed from outputs too.
        """
        if self.own_loss is None:
            return tuple(metric for metric in self.metrics if metric.of_loss is None)
        return tuple(
            metric if metric.of_loss is None else replace(metric, score=self._sum_task_losses)
            for metric in self.metrics
        )

    @property
    def measures_by_user_code(self) -> bool:
        """Whether the loss or a metric is not fanin's own."""
        return self.own_loss is not None or any(m.measure is not None for m in self.metrics)

    def make_totals(self, device: torch.device | str = "cpu") -> list[Total]:
        """A total for each metric of `scored` (`fanin.training.gathered_outputs`)."""
        return make_totals(self.scored, device)

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

    def compute_training_loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """`compute_loss` with smoothed labels: 1 − ε on the label and ε spread over all classes.

        Source: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016.
        """
        return self.compute_loss(outputs, targets, self.smoothing)

    def compute_loss(self, outputs: Any, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """The user's loss of what the model returned, or that of the task.

        Args:
            outputs: what the model returned: a tensor, or several in a tuple or a mapping.
            targets: labels or numbers.
            smoothing: the share ε of `compute_training_loss`.
        """
        if self.own_loss is not None:
            return self.own_loss(outputs, targets)
        return self._compute_task_loss(pick_output(outputs), targets, smoothing)

    def _compute_task_loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
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
        means = dict(zip((metric.name for metric in self.scored), scores, strict=True))
        if self.own_loss is None:  # the units of another loss are not known
            loss *= self.scale**2
        values = {}
        for metric in self.metrics:
            if metric.of_loss is None:
                values[metric.name] = means[metric.name] * self.scale**metric.power
            else:
                task_loss = means[metric.name] * self.scale**2 if self.own_loss else loss
                values[metric.name] = metric.of_loss(task_loss)
        return {"loss": loss, **values}

    def _sum_task_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._compute_task_loss(outputs, targets, 0.0).double() * len(targets)


def make_objective(
    dataset: Dataset,
    prepared: Prepared,
    *,
    model: ModelEntry,
    further_metrics: tuple[str, ...],
    smoothing: float,
    loss: str | None = None,
) -> Objective:
    """The objective for a data set, with the metrics of its task and `further_metrics` (specs), and
    the task's loss or a user's (a spec).
    """
    return Objective(
        info=dataset.info,
        metrics=metrics.select_metrics(dataset.info, further_metrics),
        divisor=prepared.divisor,
        channels_last=model.channels_last,
        scale=prepared.target_scale,
        smoothing=smoothing,
        lends_copies=not registry.is_builtin(model.build),
        own_loss=None if loss is None else _make_loss(loss, dataset.info, prepared.train.y[:]),
    )


def _make_loss(spec: str, info: DataInfo, y: Tensor) -> LossFunction:
    """A user's loss for a data set whose training targets are `y`."""
    counts: tuple[int, ...] = ()
    if info.task in ("classification", "token_classification"):
        counts = tuple(torch.bincount(y.reshape(-1), minlength=info.outputs).tolist())
    return user_loss.REGISTRY.make(spec).build(info.outputs, counts)


def _share_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
