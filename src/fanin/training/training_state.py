"""What a training has reached: its state, in memory and in checkpoints."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fanin.cell.cell import Cell
from fanin.training import checkpoint, optimizers
from fanin.training.checkpoint import Checkpoint
from fanin.training.steps import Trainer
from fanin.training.trained_state import Memory, TrainedState

EpochRow = dict[str, float]
"""An epoch's loss, metrics (also of validation, as ``val_…``) and seconds, by name."""


@dataclass
class TrainingState:
    """What changes from epoch to epoch besides the model and the optimizer."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    """The model's tensors after `best_epoch`."""
    best_memory: Memory | None = None
    """What a user's model kept elsewhere by then."""
    seconds: float = 0.0
    diverged: str = ""
    """What became NaN or infinite; empty if nothing did."""

    def record(self, row: EpochRow) -> None:
        """Append an epoch's row to the history."""
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)


def save_checkpoint(
    folder: Path,
    cell: Cell,
    context: dict[str, Any],
    trainer: Trainer,
    trained: TrainedState,
    state: TrainingState,
) -> None:
    """Save a checkpoint, unless it would lack a part of the training's state.

    A failure, such as a full disk, is printed and does not end the cell.
    """
    if not optimizers.is_resumable(trainer.optimizer):
        return
    if unsaved := trained.find_unsaved():
        print(
            f"cell {cell.id}: no checkpoint, since it would lack what has changed in "
            f"{', '.join(unsaved[:5])}. Keep such state in buffers of the model.",
            file=sys.stderr,
        )
        return
    try:
        checkpoint.save(folder, cell.id, _make_checkpoint(context, trainer, trained, state))
    except OSError as error:
        print(f"cell {cell.id}: no checkpoint after epoch {state.epoch}: {error}", file=sys.stderr)


def _make_checkpoint(
    context: dict[str, Any], trainer: Trainer, trained: TrainedState, state: TrainingState
) -> Checkpoint:
    groups = {
        "model": trained.read_tensors(),
        "best": state.best,
        "optimizer": optimizers.read_state_tensors(trainer.optimizer),
    }
    tensors = {
        f"{group}.{name}": tensor
        for group, named in groups.items()
        for name, tensor in named.items()
    }
    return Checkpoint(
        tensors,
        {name: getattr(state, name) for name in _SAVED} | context,
    )


_SAVED = ("epoch", "best_loss", "best_epoch", "seconds", "history")
"""The attributes of a `TrainingState` that a checkpoint holds as JSON."""


def resume(
    folder: Path | None,
    cell: Cell,
    context: dict[str, Any],
    trainer: Trainer,
    trained: TrainedState,
) -> TrainingState | None:
    """Load the cell's checkpoint into model and optimizer; None if there is no usable one.

    A checkpoint is usable in the environment that it was written in, and with the same data: these
    two are its context.
    """
    saved = checkpoint.load(folder, cell.id, context) if folder is not None else None
    if saved is None:
        return None
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in saved.tensors.items():
        group, _, key = name.partition(".")
        groups[group][key] = tensor
    current = trained.read_tensors()
    if groups["model"].keys() != current.keys():
        return None
    trained.write_tensors(groups["model"])
    optimizers.restore_state_tensors(trainer.optimizer, groups["optimizer"])
    best = {
        name: checkpoint.copy_like(current[name], tensor) for name, tensor in groups["best"].items()
    }
    # A checkpoint is written only while user code remembers what it did at the start.
    memory = trained.copy_memory()
    return TrainingState(
        best=best, best_memory=memory, **{name: saved.state[name] for name in _SAVED}
    )
