"""The steps of an epoch, and evaluation: the hot loop of all training, in one place.

The rules of speed: data in memory as one tensor, images as uint8 and converted per batch; no Python
work per sample; no synchronisation inside an epoch (sums stay tensors until its end).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from fanin import registry, seeds, user_code
from fanin.cell.cell import Cell
from fanin.data import Subset
from fanin.errors import FitError
from fanin.initializers.model_level import Multiplier
from fanin.models.dropout import DropoutKeys
from fanin.models.main_output import pick_output
from fanin.training import optimizers, schedules
from fanin.training.augmentation import Augmenter
from fanin.training.gathered_outputs import Total, add_scores, average_scores
from fanin.training.objective import Objective
from fanin.training.schedules import Schedule
from fanin.watching.layer_reading import LayerReading
from fanin.watching.signal_probe import SignalProbe

EVALUATION_BATCH = 128
"""Samples per forward pass of an evaluation. Fixed, since a result's last bits depend on it, and
small enough that no activation of the CNN exceeds the 32 MiB from which glibc maps memory anew at
every allocation."""

BATCHES_PER_GATHER = 32
"""Batches that are gathered at once: 6 MiB of CIFAR's bytes."""

STEPS_PER_READING = 30
"""The fewest steps from one measured step to the next. To measure a step of a small network takes
as long as two or three steps.
"""


@dataclass(frozen=True)
class EpochLosses:
    """The training losses of an epoch's steps, fetched once at its end."""

    by_step: Tensor
    """fp32, one per step, in the loss' units."""
    mean: float
    """Mean over samples: the running mean that a progress bar would show last."""


@dataclass
class Trainer:
    """A model and everything that changes it."""

    cell: Cell
    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    dropout: DropoutKeys
    schedule: Schedule | None
    """None for a constant learning rate."""
    augmenter: Augmenter | None
    calls_closure: bool = False
    """Whether the optimizer computes loss and gradients itself, several times a step, as LBFGS."""
    is_builtin: bool = True
    """Whether model, optimizer and metrics are fanin's own, which remember nothing in secret."""
    probe: SignalProbe | None = None
    """Measures the first steps of epochs, if the cell asks for it."""
    signals: tuple[LayerReading, ...] = ()
    """What the probe saw in the latest epoch."""

    @classmethod
    def from_cell(
        cls,
        cell: Cell,
        model: nn.Module,
        objective: Objective,
        multipliers: Mapping[str, Multiplier] | None = None,
    ) -> Trainer:
        """The trainer that a cell specifies, for a model that is on its device already.

        `multipliers` are those of the cell's initializer: by parameter, factors on the learning
        rate.
        """
        if objective.channels_last:
            convert_conv2d_weight_memory_format(model, torch.channels_last)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise FitError(
                f"No parameter of {cell.model} requires a gradient, so there is nothing to train. "
                "Leave requires_grad of at least one parameter true."
            )
        rule = optimizers.REGISTRY.make(cell.optimizer)
        is_own = user_code.has_reference(cell.optimizer) or not registry.is_builtin(type(rule))
        optimizer = rule.build(model, cell.learning_rate)
        optimizers.multiply_rates(optimizer, model, multipliers or {}, cell.learning_rate)
        return cls(
            cell=cell,
            model=model,
            objective=objective,
            optimizer=optimizer,
            calls_closure=optimizers.calls_closure(optimizer),
            dropout=DropoutKeys(model, cell.derive_seed("dropout")),
            schedule=None
            if cell.schedule == "constant"
            else schedules.REGISTRY.make(cell.schedule),
            augmenter=Augmenter(cell.augmentation, cell.derive_seed("augment"))
            if cell.augmentation
            else None,
            is_builtin=not (objective.lends_copies or is_own or objective.measures_by_user_code),
            probe=SignalProbe(model) if cell.signals else None,
        )

    def train_epoch(self, epoch: int, subset: Subset) -> tuple[EpochLosses, list[float]]:
        """Train on every sample once; return the losses and the mean of every scored metric.

        Losses and scores are measured in training mode, before each step.
        """
        self.model.train()
        self.signals = ()
        cell, device = self.cell, subset.y.device
        order = seeds.draw_order(cell.derive_seed("order"), epoch, len(subset.y)).to(device)
        steps = math.ceil(len(order) / cell.batch_size)  # the last, smaller batch is kept
        by_step = torch.zeros(steps, device=device)
        totals = self.objective.make_totals(device)
        parameters = list(self.model.parameters())
        last_batch = len(order) - (steps - 1) * cell.batch_size
        self._require_several_samples(last_batch)
        # The global generators, which a user's model may draw from, are functions of the epoch.
        global_stream = seeds.derive_stream(cell.derive_seed("dropout"), "global", epoch)
        with seeds.preserve_global_state(global_stream):
            for step, (x, y) in enumerate(self._iterate_batches(subset, order, epoch)):
                if self.schedule is not None:
                    factor = self.schedule.compute_factor(epoch * steps + step, steps, cell.epochs)
                    optimizers.set_rate(self.optimizer, cell.learning_rate * factor)
                probe = self.probe if step == 0 and _is_measured(epoch, steps) else None
                by_step[step] = self.step(epoch, step, x, y, parameters, totals, probe)
        sizes = torch.full((steps,), cell.batch_size, dtype=torch.float64, device=device)
        sizes[-1] = last_batch
        mean = (by_step.double() * sizes).sum() / len(subset.y)
        return (
            EpochLosses(by_step, float(mean)),
            average_scores(self.objective.scored, totals, len(subset.y)),
        )

    def step(
        self,
        epoch: int,
        step: int,
        x: Tensor,
        y: Tensor,
        parameters: list[nn.Parameter],
        totals: list[Total],
        probe: SignalProbe | None = None,
    ) -> Tensor:
        """Take one step on a raw batch of the data; add the scores to `totals` in place, and
        measure the step with `probe` if there is one.

        Returns the loss, detached.
        """
        self.dropout.set(epoch, step)
        if probe is not None:
            probe.open()
        outputs, targets, loss = self._compute_gradients(x, y, parameters)
        if probe is not None:
            probe.prepare_step()
        # before the step: outputs of a user's model may be views of its weights
        add_scores(self.objective.scored, totals, outputs.detach(), targets)
        if self.calls_closure:
            self.optimizer.step(lambda: float(self._compute_gradients(x.clone(), y, parameters)[2]))
        else:
            self.optimizer.step()
        if probe is not None:
            self.signals = probe.close()
        return loss

    def _compute_gradients(
        self, x: Tensor, y: Tensor, parameters: list[nn.Parameter]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Main output, targets and detached loss of a batch; the parameters hold the gradients."""
        for parameter in parameters:  # as optimizer.zero_grad does, without its bookkeeping
            parameter.grad = None
        inputs = self.objective.prepare_inputs(x)
        targets = self.objective.prepare_targets(inputs, y)
        outputs = self.model(self.objective.lend_inputs(inputs, x, targets))
        loss = self.objective.compute_training_loss(outputs, targets)
        torch.autograd.backward(loss)
        if self.cell.clip_norm is not None:
            optimizers.clip_gradients_(parameters, self.cell.clip_norm)
        return pick_output(outputs), targets, loss.detach()

    def evaluate(self, epoch: int, subset: Subset) -> tuple[float, list[float]]:
        """Mean loss and mean scores over a subset (`evaluate`) after so many epochs."""
        stream = seeds.derive_stream(self.cell.derive_seed("dropout"), "evaluate", epoch)
        with seeds.preserve_global_state(stream):
            return evaluate(self.model, self.objective, subset)

    def _require_several_samples(self, last_batch: int) -> None:
        """Raise `FitError` if batch normalization would get a batch of one sample.

        One sample has no variance, and torch's own error does not say what to do.
        """
        if last_batch == 1 and any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.model.modules()
        ):
            raise FitError(
                "The last batch of an epoch has one sample, which batch normalization cannot "
                f"take. Use a batch_size other than {self.cell.batch_size}."
            )

    def _iterate_batches(
        self, subset: Subset, order: Tensor, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The subset's batches in the given order.

        Many are gathered at a time: a small batch costs more to gather than to train on.
        """
        size = self.cell.batch_size
        draws = (
            self.augmenter.draw_epoch(epoch, len(order), device=order.device)
            if self.augmenter
            else None
        )
        for chunk in torch.split(order, size * BATCHES_PER_GATHER):
            x = subset.x[chunk]
            if self.augmenter and draws is not None:
                x = self.augmenter.apply(x, chunk, draws)
            y = x if subset.y is subset.x else subset.y[chunk]
            yield from zip(torch.split(x, size), torch.split(y, size), strict=True)


def _is_measured(epoch: int, steps: int) -> bool:
    """Whether signals are measured in an epoch of so many steps; epochs count from 0."""
    return epoch % math.ceil(STEPS_PER_READING / steps) == 0


@torch.no_grad()
def evaluate(model: nn.Module, objective: Objective, subset: Subset) -> tuple[float, list[float]]:
    """Mean loss and mean scores over a subset, in evaluation mode and in the loss' units."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=subset.y.device)
    totals = objective.make_totals(subset.y.device)
    for start in range(0, len(subset.y), EVALUATION_BATCH):
        x, y = (whole[start : start + EVALUATION_BATCH] for whole in (subset.x, subset.y))
        evaluate_batch(model, objective, x, y, loss, totals)
    n = len(subset.y)
    return float(loss) / n, average_scores(objective.scored, totals, n)


def evaluate_batch(
    model: nn.Module, objective: Objective, x: Tensor, y: Tensor, loss: Tensor, totals: list[Total]
) -> None:
    """Add a batch's loss, times its number of samples, to `loss` and its scores to `totals`."""
    inputs = objective.prepare_inputs(x)
    targets = objective.prepare_targets(inputs, y)
    outputs = model(objective.lend_inputs(inputs, x, targets))
    loss += objective.compute_loss(outputs, targets).double() * len(x)
    add_scores(objective.scored, totals, pick_output(outputs), targets)
