"""One cell, trained: read `train` from top to bottom.

The rules of speed: data in memory as one tensor, images as uint8 and converted per batch; no Python work per sample; no
synchronisation inside an epoch (sums stay tensors until its end); channels_last for convolutions; fused Adam. The order of the
samples and the dropout masks are functions of (seed, epoch, step), so a checkpoint holds no generator state and a resumed cell
continues bit for bit.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from fanin import apply, data, initializers, seeds
from fanin.data import Dataset, Part, Prepared
from fanin.errors import UsageError
from fanin.models.dropout import DropoutKeys
from fanin.study import checkpoint, optimizers
from fanin.study.cell import Cell
from fanin.study.checkpoint import Checkpoint
from fanin.study.protocol import PROTOCOLS
from fanin.study.protocol import Protocol as StudyProtocol
from fanin.study.result import Result
from fanin.study.spec import model_of

EVALUATION_BATCH = 128
"""Samples per forward pass when nothing is learnt; fixed, since a result's last bits depend on it. Small enough that no
activation of the CNN exceeds the 32 MiB from which glibc maps memory anew at every allocation."""

GATHERED = 32
"""Batches that are gathered at once: 6 MiB of CIFAR's bytes."""

Row = dict[str, float]


class Interrupted(Exception):
    """`stop` was true at an epoch's end; a checkpoint was written first."""


@dataclass
class Cache:
    """The data set last used, so that a worker's next cell finds it in memory. One set only: memory is bounded."""

    dataset: Dataset | None = None
    key: tuple[Any, ...] = ()
    prepared: Prepared | None = None

    def prepare(self, cell: Cell, protocol: StudyProtocol) -> tuple[Dataset, Prepared]:
        """The cell's data, split and scaled as its protocol says."""
        if self.dataset is None or self.dataset.info.name != cell.data:
            self.dataset = self.prepared = None  # free the one before first
            self.dataset = data.load(cell.data)
        key = (cell.data, protocol.holdout, protocol.standardise_target, cell.seed_of("split") if protocol.holdout else None)
        if self.prepared is None or key != self.key:
            self.prepared = None
            self.prepared = data.prepare(
                self.dataset,
                holdout=protocol.holdout,
                split_seed=cell.seed_of("split"),
                standardise_target=protocol.standardise_target,
            )
            self.key = key
        return self.dataset, self.prepared


@dataclass
class Task:
    """How batches become losses: the batch on its way in, the loss that is minimised, and the metric in its own units."""

    metric: str
    """accuracy or mae."""
    better: Callable[[float, float], float]
    """max or min."""
    divisor: float
    channels_last: bool
    scale: float
    """Units of the target per unit of the loss' argument: 1, or the standard deviation that divided a regression target."""

    def batch(self, x: Tensor) -> Tensor:
        """Samples as the model takes them: fp32, divided, in the model's memory format."""
        form = torch.channels_last if self.channels_last else torch.contiguous_format
        converted = x.to(torch.float32, memory_format=form)
        return converted.div_(self.divisor) if self.divisor != 1 else converted

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy, or mean squared error."""
        return F.cross_entropy(outputs, y) if self.metric == "accuracy" else F.mse_loss(outputs.squeeze(1), y)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Sum over the batch: of correct answers, or of absolute errors in the loss' units."""
        if self.metric == "accuracy":
            return (outputs.argmax(1) == y).sum(dtype=torch.float64)
        return (outputs.squeeze(1) - y).abs().sum(dtype=torch.float64)

    def own_units(self, loss: float, score: float) -> tuple[float, float]:
        """Loss and metric in the target's own units."""
        return loss * self.scale**2, score * (1 if self.metric == "accuracy" else self.scale)


@dataclass
class State:
    """What changes from epoch to epoch besides weights and optimizer."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    diverged: str = ""

    def record(self, row: Row) -> None:
        """Append an epoch's row to the history."""
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)


def train(
    cell: Cell,
    *,
    cache: Cache,
    environment: dict[str, Any],
    device: str = "cpu",
    checkpoints: Path | None = None,
    checkpoint_interval: float = 10.0,
    on_epoch: Callable[[Row], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
    weights: Path | None = None,
) -> Result:
    """Train one cell and return its result, of outcome ok or diverged.

    Args:
        cell: what to train.
        cache: keeps the data set between cells of one process.
        environment: recorded with the result (`fanin.study.tuning.environment`).
        device: a torch device; weights are drawn on the CPU and moved there.
        checkpoints: folder for checkpoints; a cell that has one resumes from it, if its environment is the same.
        checkpoint_interval: seconds at least between two checkpoints; 0 writes one at every epoch's end.
        on_epoch: called with each epoch's row: epoch, loss, metric, val_loss, val_metric, seconds.
        stop: asked at every epoch's end; true writes a checkpoint and raises `Interrupted`.
        weights: folder for the initial and the best weights, ``<cell id>.initial.safetensors`` and ``.best.safetensors``.
    """
    started = time.perf_counter()
    protocol = PROTOCOLS.get(cell.protocol)
    dataset, prepared = cache.prepare(cell, protocol)
    parts = {name: _moved(getattr(prepared, name), device) for name in ("train", "validation", "test")}
    timings = {"data": time.perf_counter() - started}

    described = model_of(cell)
    model = described.build_for(dataset.info)
    task = _task(dataset, prepared, described.entry.channels_last)
    rule = initializers.get(cell.initializer)
    few = task.batch(prepared.train.x[:2].clone())  # for rules that look at what follows each layer
    apply.initialize(model, rule, seed=cell.seed_of("init"), shared_stream=cell.shared_stream, batch=few)
    if weights is not None:
        checkpoint.save_weights(weights / f"{cell.id}.initial.safetensors", dict(model.state_dict()))
    model = model.to(device)
    if task.channels_last:
        convert_conv2d_weight_memory_format(model, torch.channels_last)
    optimizer = optimizers.get(cell.optimizer)[1].make(model.parameters(), cell.learning_rate)
    dropout = DropoutKeys(model, cell.seed_of("dropout"))
    state = _resumed(checkpoints, cell, environment, model, optimizer) or State()
    timings["setup"] = time.perf_counter() - started - timings["data"]

    saved = time.monotonic()
    while not _finished(state, cell, protocol):
        epoch_started = time.perf_counter()
        losses, score = _train_epoch(cell, state.epoch, model, optimizer, dropout, task, parts["train"])
        loss, score = task.own_units(losses.mean, score)
        val_loss, val_score = task.own_units(*_evaluate(model, task, parts["validation"]))
        seconds = time.perf_counter() - epoch_started
        row = {"loss": loss, task.metric: score, "val_loss": val_loss, f"val_{task.metric}": val_score, "seconds": seconds}
        state.epoch += 1
        state.seconds += seconds
        state.record(row)
        on_epoch({"epoch": state.epoch, **row})
        state.diverged = _divergence(losses, row, model, state.epoch)
        if val_loss < state.best_loss and not state.diverged:
            state.best_loss, state.best_epoch = val_loss, state.epoch
            state.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        stopping = stop()
        due = time.monotonic() - saved >= checkpoint_interval
        if checkpoints is not None and (due or stopping) and not state.diverged:
            _save_checkpoint(checkpoints, _checkpoint(cell, environment, model, optimizer, state), cell)
            saved = time.monotonic()
        if stopping and not _finished(state, cell, protocol):
            raise Interrupted(f"{cell.id} stopped after epoch {state.epoch}")
    timings["train"] = state.seconds

    evaluated = time.perf_counter()
    metrics = {"epochs": float(state.epoch)}
    if not state.diverged:
        model.load_state_dict(state.best)
        test_loss, test_score = task.own_units(*_evaluate(model, task, parts["test"]))
        metrics |= _metrics(state, task, test_loss, test_score)
        if weights is not None:
            checkpoint.save_weights(weights / f"{cell.id}.best.safetensors", state.best)
    timings["evaluate"] = time.perf_counter() - evaluated
    timings["total"] = time.perf_counter() - started
    return Result(
        cell=cell,
        outcome="diverged" if state.diverged else "ok",
        message=state.diverged,
        history=state.history,
        metrics=metrics,
        timings=timings,
        environment=environment,
        data=_described(dataset, prepared),
    )


@dataclass(frozen=True)
class Losses:
    """The training losses of an epoch's steps, fetched once at its end."""

    by_step: Tensor
    """fp32, one per step, in the loss' units."""
    mean: float
    """Mean over samples: the running mean that a progress bar would show last."""


def _train_epoch(
    cell: Cell,
    epoch: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dropout: DropoutKeys,
    task: Task,
    part: Part,
) -> tuple[Losses, float]:
    """One pass over the training part; returns the losses and the metric's mean, both running, in training mode."""
    model.train()
    order = seeds.order(cell.seed_of("order"), epoch, len(part.y)).to(part.y.device)
    steps = math.ceil(len(order) / cell.batch_size)  # the last, smaller batch is kept
    by_step = torch.zeros(steps, device=part.y.device)
    score = torch.zeros((), dtype=torch.float64, device=part.y.device)
    parameters = list(model.parameters())
    for step, (x, y) in enumerate(_batches(part, order, cell.batch_size)):
        dropout.set(epoch, step)
        for parameter in parameters:  # as optimizer.zero_grad does, without its bookkeeping
            parameter.grad = None
        outputs = model(task.batch(x))
        loss = task.loss(outputs, y)
        torch.autograd.backward(loss)
        optimizer.step()
        by_step[step] = loss.detach()
        score += task.score(outputs.detach(), y)
    sizes = torch.full((steps,), cell.batch_size, dtype=torch.float64, device=part.y.device)
    sizes[-1] = len(order) - (steps - 1) * cell.batch_size
    mean = (by_step.double() * sizes).sum() / len(part.y)
    return Losses(by_step, float(mean)), float(score) / len(part.y)


def _batches(part: Part, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The part's batches in that order, gathered many at a time: small ones cost more to gather than to train on."""
    for chunk in torch.split(order, size * GATHERED):
        yield from zip(torch.split(part.x[chunk], size), torch.split(part.y[chunk], size), strict=True)


@torch.no_grad()
def _evaluate(model: nn.Module, task: Task, part: Part) -> tuple[float, float]:
    """Mean loss and mean metric over a part, in evaluation mode and in the loss' units."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=part.y.device)
    score = torch.zeros((), dtype=torch.float64, device=part.y.device)
    for x, y in zip(torch.split(part.x, EVALUATION_BATCH), torch.split(part.y, EVALUATION_BATCH), strict=True):
        outputs = model(task.batch(x))
        loss += task.loss(outputs, y).double() * len(y)
        score += task.score(outputs, y)
    return float(loss) / len(part.y), float(score) / len(part.y)


def _finished(state: State, cell: Cell, protocol: StudyProtocol) -> bool:
    waited = state.epoch - state.best_epoch
    return bool(state.diverged) or state.epoch >= cell.epochs or (state.epoch > 0 and waited >= protocol.patience)


def _divergence(losses: Losses, row: Row, model: nn.Module, epoch: int) -> str:
    """What became NaN or infinite in this epoch, or nothing."""
    wrong = (~losses.by_step.isfinite()).nonzero()
    if len(wrong):
        step = int(wrong[0])
        last = f"the last finite loss was {float(losses.by_step[step - 1]):.6g}" if step else "it was the epoch's first"
        return f"training loss {float(losses.by_step[step])} in step {step + 1} of epoch {epoch}; {last}"
    for name, value in row.items():
        if not math.isfinite(value):
            return f"{name} {value} after epoch {epoch}"
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"{name} not finite after epoch {epoch}"
    return ""


def _task(dataset: Dataset, prepared: Prepared, channels_last: bool) -> Task:
    classifies = dataset.info.task == "classification"
    return Task(
        metric="accuracy" if classifies else "mae",
        better=max if classifies else min,
        divisor=prepared.divisor,
        channels_last=channels_last,
        scale=prepared.target_scale,
    )


def _moved(part: Part, device: str) -> Part:
    try:
        return Part(part.x.to(device), part.y.to(device))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"Device {device} cannot be used: {str(error).splitlines()[0]}") from None


def _metrics(state: State, task: Task, test_loss: float, test_score: float) -> dict[str, float]:
    """The validation metric is the best over epochs, not the one at the lowest loss: the case study reports it so."""
    return {
        "best_epoch": float(state.best_epoch),
        "val_loss": state.best_loss,
        f"val_{task.metric}": _reduce(task.better, state.history[f"val_{task.metric}"]),
        "test_loss": test_loss,
        f"test_{task.metric}": test_score,
    }


def _reduce(better: Callable[[float, float], float], values: list[float]) -> float:
    chosen = values[0]
    for value in values[1:]:
        chosen = better(chosen, value)
    return chosen


def _described(dataset: Dataset, prepared: Prepared) -> dict[str, Any]:
    return {
        "fingerprint": dataset.fingerprint,
        "canonical": dataset.canonical,
        "source": dataset.source,
        "n_train": len(prepared.train.y),
        "n_validation": len(prepared.validation.y),
        "n_test": len(prepared.test.y),
        "validation_is_test": prepared.validation_is_test,
    }


def _save_checkpoint(folder: Path, state: Checkpoint, cell: Cell) -> None:
    """Save, or say why not: a disk that is full now must not cost the cell what it has learnt."""
    try:
        checkpoint.save(folder, cell.id, state)
    except OSError as error:
        print(f"cell {cell.id}: no checkpoint after epoch {state.state['epoch']}: {error}", file=sys.stderr)


def _checkpoint(
    cell: Cell, environment: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, state: State
) -> Checkpoint:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizers.state_tensors(optimizer).items()}
    progress = {"epoch": state.epoch, "best_loss": state.best_loss, "best_epoch": state.best_epoch, "seconds": state.seconds}
    return Checkpoint(tensors, {**progress, "history": state.history, "environment": environment})


def _resumed(
    folder: Path | None, cell: Cell, environment: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> State | None:
    """Load the cell's checkpoint into model and optimizer, if there is one from this very environment."""
    found = checkpoint.load(folder, cell.id) if folder is not None else None
    if found is None or found.state["environment"] != environment:
        return None
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in found.tensors.items():
        group, _, key = name.partition(".")
        groups[group][key] = tensor
    model.load_state_dict(groups["model"])  # copies into the model's own tensors, which keep their strides
    optimizers.restore_state(optimizer, groups["optimizer"])
    now = model.state_dict()
    best = {name: checkpoint.like(now[name], tensor) for name, tensor in groups["best"].items()}
    progress = {key: found.state[key] for key in ("epoch", "best_loss", "best_epoch", "seconds", "history")}
    return State(best=best, **progress)
