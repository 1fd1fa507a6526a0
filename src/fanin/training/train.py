"""The training of one cell: read `train` from top to bottom.

`fanin.training.steps` has the steps of an epoch. The order of the samples, the dropout masks and
the augmentation are functions of (seed, epoch, step), and the learning rate is a function of the
step. So a checkpoint needs no generator state, and a resumed cell continues bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fanin import data, user_code
from fanin.cell.cell import Cell
from fanin.cell.protocol import REGISTRY as PROTOCOLS
from fanin.cell.protocol import Protocol
from fanin.cell.result import Result
from fanin.cell.signal_columns import append_signals
from fanin.data import Dataset, Prepared, Subset
from fanin.errors import DataInvalid, UsageError
from fanin.training import checkpoint
from fanin.training.cell_model import make_model
from fanin.training.initial_weights import describe_fit, initialize_model
from fanin.training.metrics import REGISTRY as METRICS
from fanin.training.objective import Objective, make_objective
from fanin.training.steps import EpochLosses, Trainer
from fanin.training.trained_state import TrainedState
from fanin.training.training_state import EpochRow, TrainingState, resume, save_checkpoint


class TrainingInterrupted(Exception):
    """Raised at an epoch's end if `stop` asks for it, after a checkpoint was written."""


@dataclass
class DataCache:
    """The data set that was used last, kept for a worker's next cell. One only, to bound memory."""

    dataset: Dataset | None = None
    key: tuple[Any, ...] = ()
    prepared: Prepared | None = None
    labels: dict[str, Any] | None = None
    """What a result records of its labels and features."""

    def prepare(self, cell: Cell, protocol: Protocol) -> tuple[Dataset, Prepared]:
        """The cell's data set, and its subsets, split and scaled according to the protocol."""
        if self.dataset is None or self.dataset.info.name != cell.data:
            self.dataset = self.prepared = self.labels = (
                None  # frees the old one before the new one is read
            )
            self.dataset = data.load(cell.data)
        key = (
            cell.data,
            protocol.holdout,
            protocol.standardise_target,
            cell.derive_seed("split") if protocol.holdout else None,
        )
        if self.prepared is None or key != self.key:
            self.prepared = None
            self.prepared = data.prepare(
                self.dataset,
                holdout=protocol.holdout,
                split_seed=cell.derive_seed("split"),
                standardise_target=protocol.standardise_target,
            )
            self.key = key
        if self.labels is None:
            self.labels = data.describe_labels(self.dataset)
        return self.dataset, self.prepared


def train(
    cell: Cell,
    *,
    cache: DataCache,
    environment: dict[str, Any],
    device: str = "cpu",
    checkpoints: Path | None = None,
    checkpoint_interval: float = 10.0,
    on_epoch: Callable[[EpochRow], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
    weights: Path | None = None,
    fingerprint: str = "",
) -> Result:
    """Train one cell and return its result, with outcome ok or diverged.

    Args:
        cell: what to train.
        cache: keeps the data set between the cells of one process.
        environment: recorded with the result (`fanin.execution.process_settings.environment`).
        device: a torch device; weights are drawn on the CPU and moved there.
        checkpoints: folder for checkpoints; a cell that has one from the same environment resumes
            from it.
        checkpoint_interval: least number of seconds between two checkpoints; 0 writes one at the
            end of every epoch.
        on_epoch: called with each epoch's row: epoch, loss, metric, val_loss, val_metric, seconds.
        stop: called at the end of every epoch; true writes a checkpoint and raises
            `TrainingInterrupted`.
        weights: folder for the initial and the best weights, ``<cell id>.initial.safetensors`` and
            ``<cell id>.best.safetensors``.
        fingerprint: the fingerprint that the data must have; empty if any will do.

    Raises `DataInvalid` if the data are not those of `fingerprint`.
    """
    started = time.perf_counter()
    user_code.require_unchanged(cell.sources)
    protocol = PROTOCOLS.get(cell.protocol)
    dataset, prepared = cache.prepare(cell, protocol)
    _require_same_data(dataset, cell, fingerprint)
    subsets = {
        name: _move(getattr(prepared, name), device) for name in ("train", "validation", "test")
    }
    timings = {"data": time.perf_counter() - started}

    benchmark_model = make_model(cell)
    model = benchmark_model.build_for(dataset.info)
    objective = make_objective(
        dataset,
        prepared,
        model=benchmark_model.entry,
        further_metrics=cell.metrics,
        smoothing=cell.label_smoothing,
        loss=cell.loss,
    )
    began = time.perf_counter()
    record = initialize_model(cell, model, objective, prepared.train)
    timings["initialize"] = time.perf_counter() - began
    trainer = Trainer.from_cell(cell, model.to(device), objective, record.multipliers)
    trained = TrainedState(
        model,
        trainer.optimizer,
        objective.metrics,
        is_builtin=trainer.is_builtin,
        has_schedule=trainer.schedule is not None,
        loss=objective.own_loss,
    )
    if weights is not None:
        checkpoint.save_weights(weights / f"{cell.id}.initial.safetensors", trained.read_weights())
    context = {"environment": environment, "data": dataset.fingerprint}
    state = resume(checkpoints, cell, context, trainer, trained) or TrainingState()
    timings["setup"] = time.perf_counter() - started - timings["data"]

    saved_at = time.monotonic()
    while not _is_finished(state, cell, protocol):
        epoch_started = time.perf_counter()
        losses, scores = trainer.train_epoch(state.epoch, subsets["train"])
        row = objective.convert_to_own_units(losses.mean, scores)
        validation = objective.convert_to_own_units(
            *trainer.evaluate(state.epoch, subsets["validation"])
        )
        seconds = time.perf_counter() - epoch_started
        row |= {f"val_{name}": value for name, value in validation.items()} | {"seconds": seconds}
        state.epoch += 1
        state.seconds += seconds
        state.record(row)
        on_epoch({"epoch": state.epoch, **row})
        if trainer.probe is not None:
            layers = [(layer.name, layer.values) for layer in trainer.signals]
            append_signals(state.history, layers)
        state.diverged = _describe_divergence(losses, row, model, state.epoch)
        if row["val_loss"] < state.best_loss and not state.diverged:
            state.best_loss, state.best_epoch = row["val_loss"], state.epoch
            state.best = {name: t.clone() for name, t in trained.read_tensors().items()}
            state.best_memory = trained.copy_memory()
        stopping = stop()
        due = time.monotonic() - saved_at >= checkpoint_interval
        if checkpoints is not None and (due or stopping) and not state.diverged:
            save_checkpoint(checkpoints, cell, context, trainer, trained, state)
            saved_at = time.monotonic()
        if stopping and not _is_finished(state, cell, protocol):
            raise TrainingInterrupted(f"{cell.id} stopped after epoch {state.epoch}")
    timings["train"] = state.seconds

    evaluation_started = time.perf_counter()
    metrics, missing = {"epochs": float(state.epoch)}, list[str]()
    if not state.diverged:
        trained.write_tensors(state.best)
        trained.restore_memory(state.best_memory)
        test = objective.convert_to_own_units(*trainer.evaluate(state.epoch, subsets["test"]))
        metrics |= _collect_metrics(state, objective, test)
        missing = _find_missing_metrics(state.history, test)
        if weights is not None:
            checkpoint.save_weights(
                weights / f"{cell.id}.best.safetensors",
                {name: state.best[name] for name in trained.read_weights()},
            )
    timings["evaluate"] = time.perf_counter() - evaluation_started
    timings["total"] = time.perf_counter() - started
    return Result(
        cell=cell,
        outcome="diverged" if state.diverged else "ok",
        message=state.diverged,
        history=state.history,
        metrics=metrics,
        timings=timings,
        environment=environment,
        data=_describe_data(dataset, prepared, objective)
        | (cache.labels or {})
        | ({"missing_metrics": missing} if missing else {})
        | ({"fit": fit} if (fit := describe_fit(record)) else {}),
    )


def _require_same_data(dataset: Dataset, cell: Cell, fingerprint: str) -> None:
    """Raise `DataInvalid` unless the data are those that the runner has loaded."""
    if fingerprint and dataset.fingerprint != fingerprint:
        raise DataInvalid(
            f"{cell.data} gave other data here (fingerprint {dataset.fingerprint[:12]}) than when "
            f"the run began ({fingerprint[:12]}), so cells would not be trained on the same data. "
            "If it is your own function, make it return the same arrays at each call: draw from a "
            "generator with a fixed seed. If it is a file, leave it alone during a run."
        )


def _is_finished(state: TrainingState, cell: Cell, protocol: Protocol) -> bool:
    if state.diverged or state.epoch >= cell.epochs:
        return True
    return state.epoch > 0 and state.epoch - state.best_epoch >= protocol.patience


def _describe_divergence(losses: EpochLosses, row: EpochRow, model: nn.Module, epoch: int) -> str:
    """What became NaN or infinite in this epoch; empty if nothing did."""
    not_finite = (~losses.by_step.isfinite()).nonzero()
    if len(not_finite):
        step = int(not_finite[0])
        before = (
            f"the last finite loss was {float(losses.by_step[step - 1]):.6g}"
            if step
            else "it was the epoch's first"
        )
        return (
            f"training loss {float(losses.by_step[step])} in step {step + 1} of epoch {epoch}; "
            f"{before}"
        )
    for name in ("loss", "val_loss"):  # a metric only observes
        if not math.isfinite(row[name]):
            return f"{name} {row[name]} after epoch {epoch}"
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"{name} not finite after epoch {epoch}"
    return ""


def _move(subset: Subset, device: str) -> Subset:
    try:
        x = subset.x.to(device)
        return Subset(x, x if subset.y is subset.x else subset.y.to(device))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"Device {device} cannot be used: {str(error).splitlines()[0]}") from None


def _collect_metrics(
    state: TrainingState, objective: Objective, test: dict[str, float]
) -> dict[str, float]:
    """The result's metrics.

    A validation metric is the best over all epochs, not the one of the epoch with the lowest loss,
    as the case study reports it. A metric that was not finite anywhere is missing.
    """
    missing = _find_missing_metrics(state.history, test)
    best = {}
    for metric in objective.metrics:
        values = state.history[f"val_{metric.name}"]
        best[f"val_{metric.name}"] = max(values) if metric.better == "max" else min(values)
    found = best | {f"test_{name}": value for name, value in test.items()}
    return {
        "best_epoch": float(state.best_epoch),
        "val_loss": state.best_loss,
        **{name: value for name, value in found.items() if name.partition("_")[2] not in missing},
    }


def _find_missing_metrics(history: dict[str, list[float]], test: dict[str, float]) -> list[str]:
    """The metrics that were not finite in an epoch or on the test set."""
    return [
        name
        for name, value in test.items()
        if name != "loss"
        and not all(map(math.isfinite, (value, *history[name], *history[f"val_{name}"])))
    ]


def _describe_data(dataset: Dataset, prepared: Prepared, objective: Objective) -> dict[str, Any]:
    """The result's `data`, with the direction of the user's own metrics, which only they know."""
    user_metrics = {m.name: m.better for m in objective.metrics if m.name not in METRICS}
    return {
        "fingerprint": dataset.fingerprint,
        "canonical": dataset.published,
        "source": dataset.source,
        "n_train": len(prepared.train.y),
        "n_validation": len(prepared.validation.y),
        "n_test": len(prepared.test.y),
        "validation_is_test": prepared.validation_is_test,
        **({"metrics": user_metrics} if user_metrics else {}),
    }
