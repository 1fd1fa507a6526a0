"""Worker pool: the workers of one run, what each is doing, and how they share one environment.

All processes start at once. The first worker chooses the matmul backend, which the others use, too;
its environment is the run's. A worker that is lost makes room for a new one, which `staff` starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanin.cell.cell import Cell
from fanin.cell.result import make_environment_key
from fanin.errors import FaninError
from fanin.execution.cell_queue import NO_FILES, UserFiles, list_user_files
from fanin.execution.events import Event, Notice, WorkerLost
from fanin.execution.executors import LocalExecutor, LocalWorker, WorkerExit
from fanin.execution.messages import (
    CellDone,
    CellStopped,
    EpochDone,
    Message,
    Ready,
    Refused,
    SetUp,
    Stop,
    Train,
)

_START_TIMEOUT = 600.0
_MAX_START_FAILURES = 3
_LARGEST_GAP = 1.0
"""The most seconds between two looks at the workers that count. If more have passed, this process
was stopped, such as in a suspended container, and the workers probably with it.
"""


@dataclass(frozen=True)
class CellInTraining:
    """A cell and the worker that trains it."""

    worker: LocalWorker
    cell: Cell
    epoch: int = 0
    """Epochs finished."""


@dataclass(frozen=True)
class CellLost:
    """The worker of a cell has died, or was killed because it hung."""

    reason: str
    hung: bool
    last_output: str


CellUpdate = EpochDone | CellDone | CellStopped | CellLost


class WorkerPool:
    """At most `limit` workers on one device."""

    def __init__(
        self,
        executor: LocalExecutor,
        *,
        device: str,
        limit: int,
        timeout: float,
        cells: Sequence[Cell],
        emit: Callable[[Event], None],
        matmul: str | None = None,
    ) -> None:
        self.environment: dict[str, Any] | None = None
        """The environment of every worker; None until the first is ready."""
        self.in_training: dict[LocalWorker, CellInTraining] = {}
        self._executor = executor
        self._device = device
        self._limit = limit
        self._timeout = timeout
        self._emit = emit
        models = {
            (cell.data, cell.model, cell.activation, cell.batch_size): cell
            for cell in cells
            if cell.trainer is None
        }
        self._cell_of_each_model = list(models.values())
        self._imports: dict[LocalWorker, UserFiles] = {}
        self._matmul = matmul
        self._starting: dict[LocalWorker, bool] = {}
        """Workers that are not ready yet, and whether each was told to set up."""
        self._idle: list[LocalWorker] = []
        self._hung: set[LocalWorker] = set()
        self._start_failures = 0
        self._last_look = time.monotonic()

    def staff(self, cells: int) -> None:
        """Start workers until there is one for each of `cells` cells, or the limit is reached.

        Until the first worker is ready, only one is told to set up.
        """
        while len(self._executor) < min(self._limit, cells):
            self._starting[self._executor.start()] = False
        for worker, told in list(self._starting.items()):
            if not told and (self.environment is not None or not any(self._starting.values())):
                is_chosen = self.environment is not None or self._matmul == "default"
                models = list[Cell]() if is_chosen else self._cell_of_each_model
                self._imports[worker] = NO_FILES.union(*map(list_user_files, models))
                checked = [cell.to_json() for cell in models]
                worker.send(SetUp(self._device, self._matmul, checked))
                self._starting[worker] = True

    def list_idle_workers(self) -> list[LocalWorker]:
        """The workers that wait for a cell, those that have imported user code first."""
        return sorted(self._idle, key=lambda worker: not self.get_imports(worker))

    def get_imports(self, worker: LocalWorker) -> UserFiles:
        """The user code that a worker has imported."""
        return self._imports.get(worker, NO_FILES)

    def assign(self, worker: LocalWorker, cell: Cell, command: Train) -> None:
        """Have an idle worker train a cell."""
        self._idle.remove(worker)
        self._imports[worker] = self.get_imports(worker) | list_user_files(cell)
        self.in_training[worker] = CellInTraining(worker, cell)
        worker.send(command, clear_output=True)

    def stop(self) -> None:
        """Tell all workers to stop at their cell's next checkpoint."""
        for worker in self.in_training:
            worker.send(Stop())

    def dismiss(self, worker: LocalWorker) -> None:
        """Kill an idle worker that may not train another cell. `staff` replaces it."""
        if worker not in self._idle:
            return
        self._idle.remove(worker)
        worker.kill()

    def wait_for_update(self, timeout: float) -> tuple[CellInTraining, CellUpdate] | None:
        """What happened to a cell; None if nothing did for `timeout` seconds.

        Raises `FaninError` if workers cannot be started, cannot train here, or do not share one
        environment.
        """
        self._kill_hung()
        received = self._executor.receive(timeout)
        if received is None:
            return None
        worker, message = received
        if isinstance(message, WorkerExit):
            return self._remove_worker(worker, message)
        if isinstance(message, Refused):
            raise message.to_error()
        if isinstance(message, Ready):
            self._accept_worker(worker, message)
            return None
        return self._update_cell(worker, message)

    def close(self) -> None:
        """Kill all workers and wait until they are gone."""
        self._executor.close()

    def _update_cell(
        self, worker: LocalWorker, message: Message
    ) -> tuple[CellInTraining, CellUpdate] | None:
        current = self.in_training.get(worker)
        if current is None:
            return None
        if isinstance(message, EpochDone):
            current = self.in_training[worker] = replace(current, epoch=int(message.row["epoch"]))
            return current, message
        if isinstance(message, CellDone | CellStopped):
            del self.in_training[worker]
            self._idle.append(worker)
            if isinstance(message, CellDone) and message.leftovers:
                self.dismiss(worker)
            return current, message
        return None

    def _accept_worker(self, worker: LocalWorker, message: Ready) -> None:
        del self._starting[worker]
        self._start_failures = 0
        if self.environment is None:
            self.environment, self._matmul = message.environment, message.matmul
        expected = make_environment_key(self.environment)
        received = make_environment_key(message.environment)
        if expected != received:
            raise FaninError(
                "All workers of a run must share one environment: expected "
                f"{expected}, received {received}."
            )
        self._idle.append(worker)
        if message.leftovers:
            self.dismiss(worker)

    def _remove_worker(
        self, worker: LocalWorker, worker_exit: WorkerExit
    ) -> tuple[CellInTraining, CellLost] | None:
        self._imports.pop(worker, None)
        hung = worker in self._hung
        self._hung.discard(worker)
        if worker in self._starting:
            self._handle_failed_start(worker, worker_exit)
        elif worker in self._idle:
            self._idle.remove(worker)
        current = self.in_training.pop(worker, None)
        if current is None:
            return None
        reason = f"no epoch ended for {self._timeout:g} s" if hung else str(worker_exit)
        return current, CellLost(reason, hung, worker_exit.last_output)

    def _handle_failed_start(self, worker: LocalWorker, worker_exit: WorkerExit) -> None:
        del self._starting[worker]
        self._start_failures += 1
        retried = self._start_failures < _MAX_START_FAILURES
        self._emit(WorkerLost(worker.number, None, str(worker_exit), retried=retried))
        if not retried:
            raise FaninError(
                f"Cannot start workers: {worker_exit}. The output of the last one is in "
                f"{worker.log}.\n{worker_exit.last_output}"
            )
        if self.environment is None and self._start_failures == _MAX_START_FAILURES - 1:
            # Perhaps a model kills the process when it is built for the check. Training will show
            # which cell that is.
            self._matmul = "default"
            self._emit(
                Notice(
                    "Workers died while they checked which matmul backend is exact. The default "
                    "one is used."
                )
            )

    def _kill_hung(self) -> None:
        """Kill the workers that were silent for too long, in the time that was observed."""
        now = time.monotonic()
        gap = now - self._last_look
        self._last_look = now
        if gap > _LARGEST_GAP:
            for worker in [*self.in_training, *self._starting]:
                worker.last_contact = min(worker.last_contact + gap, now)
        for worker in [*self.in_training, *self._starting]:
            limit = self._timeout if worker in self.in_training else _START_TIMEOUT
            if now - worker.last_contact > limit and worker not in self._hung:
                self._hung.add(worker)
                worker.kill()
