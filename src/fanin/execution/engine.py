"""Engines: what trains cells inside a worker.

A worker loads its engine by name, ``module:factory``. So the runner imports neither an engine nor
torch, and a test can use an engine of its own.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.errors import UsageError, quote

if TYPE_CHECKING:
    from fanin.execution.process_settings import Matmul

DEFAULT_ENGINE = "fanin.execution.engine:TorchEngine"


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A cell to train, and the folders of its files."""

    cell: Cell
    checkpoints: Path
    checkpoint_interval: float
    """The least seconds between two checkpoints."""
    weights: Path | None = None
    """The folder for initial and best weights; None to keep none."""
    fingerprint: str = ""
    """The fingerprint that the cell's data must have; empty if any will do."""


class Engine(Protocol):
    """Trains cells. Each worker process makes one."""

    def choose_matmul(self, cells: Sequence[Cell], wanted: str | None = None) -> str:
        """The matmul backend that is wanted, or else the fastest, if it is exact on this machine
        for these cells.
        """

    def set_up(self, device: str, matmul: str) -> dict[str, Any]:
        """Get ready to train; returns the environment that every result will record."""

    def train(
        self,
        job: TrainingJob,
        on_epoch: Callable[[dict[str, float]], None],
        stop: Callable[[], bool],
    ) -> Result | None:
        """Train a cell and return its result, ok or diverged; None if it stopped at a checkpoint
        because `stop` returned true.
        """

    def find_leftovers(self) -> list[str]:
        """What user code has changed in the process for good since the last call of another
        method, by name. A worker with any is replaced.
        """


def load_engine(name: str) -> Engine:
    """The engine that ``module:factory`` makes."""
    module, _, factory = name.partition(":")
    engine: Engine = getattr(importlib.import_module(module), factory)()
    return engine


def list_devices() -> list[str]:
    """The devices that torch can use here."""
    import torch

    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if cuda else []), *cuda, *mps]


class TorchEngine:
    """Trains one cell at a time with `fanin.training.train`, or by the user's function that the
    cell names (`fanin.training.own_training`).
    """

    def __init__(self) -> None:
        from fanin.execution import process_settings, process_state
        from fanin.training import own_training, train

        process_settings.tune_process()
        self._train, self._settings = train, process_settings
        self._train_by_own_code = own_training.train_by_own_code
        self._preserve = process_state.preserve_process_state
        self._leftovers: list[str] = []
        self._cache = train.DataCache()
        self._device = "cpu"
        self._environment: dict[str, Any] = {}

    def choose_matmul(self, cells: Sequence[Cell], wanted: str | None = None) -> str:
        """``onednn`` if it is exact, and wanted or faster, else ``default``.

        A model that cannot be built is left out; its own cells will fail in training.
        """
        if wanted == "default":
            return wanted
        with self._preserve() as self._leftovers:
            return self._choose_matmul(cells, wanted)

    def find_leftovers(self) -> list[str]:
        """What user code has changed in this process for good, by name."""
        return self._leftovers

    def _choose_matmul(self, cells: Sequence[Cell], wanted: str | None) -> str:
        settings = self._settings
        models = {
            (c.data, c.model, c.activation, c.normalization, c.batch_size): c
            for c in cells
            if c.trainer is None
        }
        buildable = list[Cell]()
        for cell in models.values():
            with contextlib.suppress(Exception), self._preserve():
                settings.collect_linear_shapes([cell])
                buildable.append(cell)
        if not buildable or not settings.is_onednn_exact(buildable):
            return "default"
        if wanted == "onednn":
            return wanted
        speedup = settings.measure_onednn_speedup(buildable)
        return "onednn" if speedup > settings.WORTH_IT else "default"

    def set_up(self, device: str, matmul: str) -> dict[str, Any]:
        """Choose device and matmul backend. Raises `UsageError` if the device cannot be used.

        Off the CPU the backend is the default one: oneDNN's setting would allow TF32 on a GPU,
        which nobody has checked.
        """
        import torch

        try:
            torch.empty(1, device=device).add_(1).cpu()
        except Exception as error:  # of many classes, by the backend
            known = list_devices()
            text = f"Device {quote(device)} cannot be used. There are: {', '.join(known)}."
            if device.partition(":")[0] in {name.partition(":")[0] for name in known}:
                text += f" torch says: {str(error).splitlines()[0][:200]}"
            raise UsageError(text) from None
        on_cpu = torch.device(device).type == "cpu"
        backend: Matmul = "onednn" if matmul == "onednn" and on_cpu else "default"
        self._settings.set_matmul(backend)
        self._device = device
        self._environment = self._settings.describe_environment(device, backend)
        return self._environment

    def train(
        self,
        job: TrainingJob,
        on_epoch: Callable[[dict[str, float]], None],
        stop: Callable[[], bool],
    ) -> Result | None:
        """Train a cell, then put back the state of the process, which user code may change."""
        from fanin import user_code

        with self._preserve():  # a file that changes settings on import does so in no cell
            for reference, _ in job.cell.sources:
                user_code.load(reference)
        with self._preserve() as self._leftovers:
            try:
                if job.cell.trainer is not None:
                    return self._train_by_own_code(
                        job.cell,
                        environment=self._environment,
                        device=self._device,
                        on_epoch=on_epoch,
                        stop=stop,
                    )
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
                    fingerprint=job.fingerprint,
                )
            except self._train.TrainingInterrupted:
                return None
