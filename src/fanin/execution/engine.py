"""Engine: what trains cells inside a worker. The seam between the worker process and the training
code.

A worker loads its engine by name, ``module:factory``, so that another engine (or a test's) takes
this one's place without the runner knowing. The runner imports no engine, and no torch.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.errors import UsageError

DEFAULT = "fanin.execution.engine:TorchEngine"


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A cell to train, and where its files go."""

    cell: Cell
    checkpoints: Path
    checkpoint_interval: float
    """Seconds at least between two checkpoints."""
    weights: Path | None = None
    """Folder for initial and best weights, where they are wanted."""


class Engine(Protocol):
    """Made once in each worker process."""

    def choose_matmul(self, cells: Sequence[Cell]) -> str:
        """The faster matmul backend that is exact on this machine for these cells."""

    def set_up(self, device: str, matmul: str) -> dict[str, Any]:
        """Get ready to train; returns the environment that every result will carry."""

    def train(
        self,
        job: TrainingJob,
        on_epoch: Callable[[dict[str, float]], None],
        stop: Callable[[], bool],
    ) -> Result | None:
        """The cell's result, ok or diverged; None if it stopped at a checkpoint because `stop` was
        true.
        """


def load(name: str) -> Engine:
    """The engine that ``module:factory`` makes."""
    module, _, factory = name.partition(":")
    engine: Engine = getattr(importlib.import_module(module), factory)()
    return engine


class TorchEngine:
    """Cells trained one at a time by `fanin.training.train`."""

    def __init__(self) -> None:
        from fanin.execution import process_settings
        from fanin.training import train

        process_settings.tune_process()
        self._train, self._tuning = train, process_settings
        self._cache = train.DataCache()
        self._device = "cpu"
        self._environment: dict[str, Any] = {}

    def choose_matmul(self, cells: Sequence[Cell]) -> str:
        """oneDNN where it is exact and faster. A model that cannot be built makes its own cells
        fail later, not the check.
        """
        tuning = self._tuning
        known = list[Cell]()
        for cell in {
            (c.data, c.model, c.activation, c.normalization, c.batch_size): c for c in cells
        }.values():
            with contextlib.suppress(Exception):
                tuning.collect_linear_shapes([cell])
                known.append(cell)
        if not known or not tuning.is_onednn_exact(known):
            return "default"
        return "onednn" if tuning.measure_onednn_speedup(known) > tuning.WORTH_IT else "default"

    def set_up(self, device: str, matmul: str) -> dict[str, Any]:
        """Settle the matmul backend; raises `UsageError` for a device that cannot be used."""
        import torch

        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(
                f"Device {device} cannot be used: {str(error).splitlines()[0]} Choose cpu or cuda."
            ) from None
        self._tuning.set_matmul("onednn" if matmul == "onednn" else "default")
        self._device = device
        self._environment = self._tuning.describe_environment(
            device, "onednn" if matmul == "onednn" else "default"
        )
        return self._environment

    def train(
        self,
        job: TrainingJob,
        on_epoch: Callable[[dict[str, float]], None],
        stop: Callable[[], bool],
    ) -> Result | None:
        """Train the cell; process-wide settings that a user's model changes are put back."""
        with _preserve_settings():
            try:
                return self._train.train(
                    job.cell,
                    cache=self._cache,
                    environment=self._environment,
                    device=self._device,
                    checkpoints=job.checkpoints,
                    checkpoint_interval=job.checkpoint_interval,
                    on_epoch=on_epoch,
                    stop=stop,
                    weights=job.weights,
                )
            except self._train.TrainingInterrupted:
                return None


@contextlib.contextmanager
def _preserve_settings() -> Iterator[None]:
    """Put torch's process-wide settings back, so that no cell computes otherwise because of the one
    before it.
    """
    import torch

    settings: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, torch.set_default_device),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    )
    before = [get() for get, _ in settings]
    try:
        yield
    finally:
        for (get, put_back), value in zip(settings, before, strict=True):
            if get() != value:
                put_back(value)
