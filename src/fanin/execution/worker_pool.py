"""Worker pool: the workers of one run, what each is doing, and how they come to share one environment.

All processes start at once. The first is asked which matmul backend is exact here; its verdict goes
to the others, and its environment is the run's. A worker that is lost makes room for a new one,
which `staff` starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanin.cell.cell import Cell
from fanin.cell.result import make_environment_key
from fanin.errors import FaninError
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
_START_FAILURES = 3


@dataclass(frozen=True)
class Assignment:
    """A cell in a worker's hands."""

    worker: LocalWorker
    cell: Cell
    epoch: int = 0
    """Epochs finished."""


@dataclass(frozen=True)
class CellLost:
    """The worker that trained a cell has died, or was killed because it hung."""

    reason: str
    hung: bool
    last_output: str


CellUpdate = EpochDone | CellDone | CellStopped | CellLost


class WorkerPool:
    """At most `limit` workers on one device."""

    def __init__(
        self,
        workers: LocalExecutor,
        *,
        device: str,
        limit: int,
        timeout: float,
        cells: Sequence[Cell],
        emit: Callable[[Event], None],
    ) -> None:
        self.environment: dict[str, Any] | None = None
        """What every worker has; None until the first is ready."""
        self.assignments: dict[LocalWorker, Assignment] = {}
        self._workers, self._device, self._limit, self._timeout, self._emit = (
            workers,
            device,
            limit,
            timeout,
            emit,
        )
        self._shapes = {
            (cell.data, cell.model, cell.activation, cell.batch_size): cell.to_json()
            for cell in cells
        }
        self._matmul: str | None = None
        self._starting: dict[LocalWorker, bool] = {}
        """Workers that are not ready yet, and whether they were told to set up."""
        self._idle: list[LocalWorker] = []
        self._hung: set[LocalWorker] = set()
        self._start_failures = 0

    def staff(self, work: int) -> None:
        """Have a worker for each of `work` cells, up to the limit."""
        while len(self._workers) < min(self._limit, work):
            self._starting[self._workers.start()] = False
        knows = self.environment is not None
        for worker, told in list(self._starting.items()):
            if not told and (knows or not any(self._starting.values())):
                cells = [] if self._matmul else list(self._shapes.values())
                worker.send(SetUp(self._device, self._matmul, cells))
                self._starting[worker] = True

    def get_idle_worker(self) -> LocalWorker | None:
        """A worker that waits for a cell."""
        return self._idle[-1] if self._idle else None

    def assign(self, worker: LocalWorker, cell: Cell, command: Train) -> None:
        """Have an idle worker train a cell."""
        self._idle.remove(worker)
        self.assignments[worker] = Assignment(worker, cell)
        worker.send(command, clear_output=True)

    def stop(self) -> None:
        """Ask all workers to leave their cells at the next checkpoint."""
        for worker in self.assignments:
            worker.send(Stop())

    def dismiss(self, worker: LocalWorker) -> None:
        """Give up an idle worker that is not to be trusted with another cell."""
        self._idle.remove(worker)
        worker.kill()

    def wait_for_update(self, timeout: float) -> tuple[Assignment, CellUpdate] | None:
        """What happened to a cell, waiting `timeout` seconds at most; None if nothing did.

        Raises `FaninError` where workers cannot be started, refuse to train here, or do not share
        one environment.
        """
        self._kill_hung()
        letter = self._workers.receive(timeout)
        if letter is None:
            return None
        worker, message = letter
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
        self._workers.close()

    def _update_cell(
        self, worker: LocalWorker, message: Message
    ) -> tuple[Assignment, CellUpdate] | None:
        training = self.assignments.get(worker)
        if training is None:
            return None
        if isinstance(message, EpochDone):
            training = self.assignments[worker] = replace(training, epoch=int(message.row["epoch"]))
            return training, message
        if isinstance(message, CellDone | CellStopped):
            del self.assignments[worker]
            self._idle.append(worker)
            return training, message
        return None

    def _accept_worker(self, worker: LocalWorker, message: Ready) -> None:
        del self._starting[worker]
        self._start_failures = 0
        if self.environment is None:
            self.environment, self._matmul = message.environment, message.matmul
        expected, found = (
            make_environment_key(self.environment),
            make_environment_key(message.environment),
        )
        if expected != found:
            raise FaninError(
                f"Workers of one run must share one environment: expected {expected}, one has "
                f"{found}."
            )
        self._idle.append(worker)

    def _remove_worker(
        self, worker: LocalWorker, lost: WorkerExit
    ) -> tuple[Assignment, CellLost] | None:
        hung = worker in self._hung
        self._hung.discard(worker)
        if worker in self._starting:
            self._handle_failed_start(worker, lost)
        elif worker in self._idle:
            self._idle.remove(worker)
        training = self.assignments.pop(worker, None)
        if training is None:
            return None
        reason = f"no epoch ended for {self._timeout:g} s" if hung else str(lost)
        return training, CellLost(reason, hung, lost.last_output)

    def _handle_failed_start(self, worker: LocalWorker, lost: WorkerExit) -> None:
        del self._starting[worker]
        self._start_failures += 1
        again = self._start_failures < _START_FAILURES
        self._emit(WorkerLost(worker.number, None, str(lost), retried=again))
        if not again:
            raise FaninError(
                f"Workers cannot be started: {lost}. The last one's output is in "
                f"{worker.log}.\n{lost.last_output}"
            )
        if self.environment is None and self._start_failures == _START_FAILURES - 1:
            # A model takes the process along when the check builds it, perhaps; training will tell
            # which cell's it is.
            self._matmul = "default"
            self._emit(
                Notice(
                    "Workers died while they checked which matmul backend is exact; the default "
                    "one is used."
                )
            )

    def _kill_hung(self) -> None:
        now = time.monotonic()
        for worker in [*self.assignments, *self._starting]:
            limit = self._timeout if worker in self.assignments else _START_TIMEOUT
            if now - worker.last_contact > limit and worker not in self._hung:
                self._hung.add(worker)
                worker.kill()
