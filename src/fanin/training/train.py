"""One cell, trained: read `train` from top to bottom; an epoch's steps are in
`fanin.training.steps`.

The order of the samples, the dropout masks and the augmentation are functions of (seed, epoch,
step), and the learning rate is one of the step, so a checkpoint holds no generator state and a
resumed cell continues bit for bit.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fanin import apply, data, initializers, user_code
from fanin.cell.cell import Cell
from fanin.cell.protocol import PROTOCOLS
from fanin.cell.protocol import Protocol as StudyProtocol
from fanin.cell.result import Result
from fanin.data import Dataset, Prepared, Subset
from fanin.errors import UsageError
from fanin.training import checkpoint, optimizers
from fanin.training.cell_model import model_of
from fanin.training.checkpoint import Checkpoint
from fanin.training.metrics import REGISTRY as METRICS
from fanin.training.objective import Objective, make_objective
from fanin.training.steps import Losses, Trainer, evaluate

Row = dict[str, float]


class Interrupted(Exception):
    """`stop` was true at an epoch's end; a checkpoint was written first."""


@dataclass
class Cache:
    """The data set last used, so that a worker's next cell finds it in memory. One set only: memory
    is bounded.
    """

    dataset: Dataset | None = None
    key: tuple[Any, ...] = ()
    prepared: Prepared | None = None

    def prepare(self, cell: Cell, protocol: StudyProtocol) -> tuple[Dataset, Prepared]:
        """The cell's data, split and scaled as its protocol says."""
        if self.dataset is None or self.dataset.info.name != cell.data:
            self.dataset = self.prepared = None  # free the one before first
            self.dataset = data.load(cell.data)
        key = (
            cell.data,
            protocol.holdout,
            protocol.standardise_target,
            cell.seed_of("split") if protocol.holdout else None,
        )
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
        environment: recorded with the result (`fanin.execution.process_settings.environment`).
        device: a torch device; weights are drawn on the CPU and moved there.
        checkpoints: folder for checkpoints; a cell that has one resumes from it, if its environment
            is the same.
        checkpoint_interval: seconds at least between two checkpoints; 0 writes one at every epoch's
            end.
        on_epoch: called with each epoch's row: epoch, loss, metric, val_loss, val_metric, seconds.
        stop: asked at every epoch's end; true writes a checkpoint and raises `Interrupted`.
        weights: folder for the initial and the best weights, ``<cell id>.initial.safetensors`` and
            ``.best.safetensors``.
    """
    started = time.perf_counter()
    user_code.require_unchanged(cell.sources)
    protocol = PROTOCOLS.get(cell.protocol)
    dataset, prepared = cache.prepare(cell, protocol)
    parts = {
        name: _moved(getattr(prepared, name), device) for name in ("train", "validation", "test")
    }
    timings = {"data": time.perf_counter() - started}

    described = model_of(cell)
    model = described.build_for(dataset.info)
    task = make_objective(
        dataset,
        prepared,
        channels_last=described.entry.channels_last,
        further=cell.metrics,
        smoothing=cell.label_smoothing,
    )
    rule = initializers.get(cell.initializer)
    few = task.batch(prepared.train.x[:2].clone())  # for rules that look at what follows each layer
    apply.initialize(
        model,
        rule,
        seed=cell.seed_of("init"),
        biases=cell.biases,
        shared_stream=cell.shared_stream,
        batch=few,
    )
    if weights is not None:
        checkpoint.save_weights(
            weights / f"{cell.id}.initial.safetensors", dict(model.state_dict())
        )
    trainer = Trainer.of(cell, model.to(device), task)
    state = _resumed(checkpoints, cell, environment, trainer) or State()
    timings["setup"] = time.perf_counter() - started - timings["data"]

    saved = time.monotonic()
    while not _finished(state, cell, protocol):
        epoch_started = time.perf_counter()
        losses, scores = trainer.epoch(state.epoch, parts["train"])
        row = task.own_units(losses.mean, scores)
        validation = task.own_units(*evaluate(model, task, parts["validation"]))
        seconds = time.perf_counter() - epoch_started
        row |= {f"val_{name}": value for name, value in validation.items()} | {"seconds": seconds}
        state.epoch += 1
        state.seconds += seconds
        state.record(row)
        on_epoch({"epoch": state.epoch, **row})
        state.diverged = _divergence(losses, row, model, state.epoch)
        if row["val_loss"] < state.best_loss and not state.diverged:
            state.best_loss, state.best_epoch = row["val_loss"], state.epoch
            state.best = {
                name: tensor.detach().clone() for name, tensor in model.state_dict().items()
            }
        stopping = stop()
        due = time.monotonic() - saved >= checkpoint_interval
        if checkpoints is not None and (due or stopping) and not state.diverged:
            if optimizers.is_resumable(trainer.optimizer):
                _save_checkpoint(checkpoints, _checkpoint(cell, environment, trainer, state), cell)
            saved = time.monotonic()
        if stopping and not _finished(state, cell, protocol):
            raise Interrupted(f"{cell.id} stopped after epoch {state.epoch}")
    timings["train"] = state.seconds

    evaluated = time.perf_counter()
    metrics = {"epochs": float(state.epoch)}
    if not state.diverged:
        model.load_state_dict(state.best)
        metrics |= _metrics(state, task, task.own_units(*evaluate(model, task, parts["test"])))
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
        data=_described(dataset, prepared, task),
    )


def _finished(state: State, cell: Cell, protocol: StudyProtocol) -> bool:
    waited = state.epoch - state.best_epoch
    return (
        bool(state.diverged)
        or state.epoch >= cell.epochs
        or (state.epoch > 0 and waited >= protocol.patience)
    )


def _divergence(losses: Losses, row: Row, model: nn.Module, epoch: int) -> str:
    """What became NaN or infinite in this epoch, or nothing."""
    wrong = (~losses.by_step.isfinite()).nonzero()
    if len(wrong):
        step = int(wrong[0])
        last = (
            f"the last finite loss was {float(losses.by_step[step - 1]):.6g}"
            if step
            else "it was the epoch's first"
        )
        return f"training loss {float(losses.by_step[step])} in step {step + 1} of epoch {epoch}; {last}"
    for name, value in row.items():
        if not math.isfinite(value):
            return f"{name} {value} after epoch {epoch}"
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"{name} not finite after epoch {epoch}"
    return ""


def _moved(part: Subset, device: str) -> Subset:
    try:
        x = part.x.to(device)
        return Subset(x, x if part.y is part.x else part.y.to(device))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"Device {device} cannot be used: {str(error).splitlines()[0]}") from None


def _metrics(state: State, task: Objective, test: dict[str, float]) -> dict[str, float]:
    """A validation metric is the best over epochs, not the one at the lowest loss: the case study
    reports it so.
    """
    best = {}
    for metric in task.metrics:
        values = state.history[f"val_{metric.name}"]
        best[f"val_{metric.name}"] = max(values) if metric.better == "max" else min(values)
    found = {"best_epoch": float(state.best_epoch), "val_loss": state.best_loss, **best}
    return found | {f"test_{name}": value for name, value in test.items()}


def _described(dataset: Dataset, prepared: Prepared, task: Objective) -> dict[str, Any]:
    own = {metric.name: metric.better for metric in task.metrics if metric.name not in METRICS}
    return {
        "fingerprint": dataset.fingerprint,
        "canonical": dataset.published,
        "source": dataset.source,
        "n_train": len(prepared.train.y),
        "n_validation": len(prepared.validation.y),
        "n_test": len(prepared.test.y),
        "validation_is_test": prepared.validation_is_test,
        **({"metrics": own} if own else {}),
    }


def _save_checkpoint(folder: Path, state: Checkpoint, cell: Cell) -> None:
    """Save, or say why not: a disk that is full now must not cost the cell what it has learnt."""
    try:
        checkpoint.save(folder, cell.id, state)
    except OSError as error:
        print(
            f"cell {cell.id}: no checkpoint after epoch {state.state['epoch']}: {error}",
            file=sys.stderr,
        )


def _checkpoint(
    cell: Cell, environment: dict[str, Any], trainer: Trainer, state: State
) -> Checkpoint:
    tensors = {f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    tensors |= {
        f"optimizer.{name}": tensor
        for name, tensor in optimizers.state_tensors(trainer.optimizer).items()
    }
    progress = {
        "epoch": state.epoch,
        "best_loss": state.best_loss,
        "best_epoch": state.best_epoch,
        "seconds": state.seconds,
    }
    return Checkpoint(tensors, {**progress, "history": state.history, "environment": environment})


def _resumed(
    folder: Path | None, cell: Cell, environment: dict[str, Any], trainer: Trainer
) -> State | None:
    """Load the cell's checkpoint into model and optimizer, if there is one from this very
    environment.
    """
    found = checkpoint.load(folder, cell.id) if folder is not None else None
    if found is None or found.state["environment"] != environment:
        return None
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in found.tensors.items():
        group, _, key = name.partition(".")
        groups[group][key] = tensor
    trainer.model.load_state_dict(
        groups["model"]
    )  # copies into the model's own tensors, which keep their strides
    optimizers.restore_state(trainer.optimizer, groups["optimizer"])
    now = trainer.model.state_dict()
    best = {name: checkpoint.like(now[name], tensor) for name, tensor in groups["best"].items()}
    progress = {
        key: found.state[key] for key in ("epoch", "best_loss", "best_epoch", "seconds", "history")
    }
    return State(best=best, **progress)
