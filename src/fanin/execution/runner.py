"""The runner: trains what a plan lacks, and commits each result the moment it arrives.

`run_plan` locks the results folder, stores the plan and starts workers. Then it does one thing at a
time: it waits for the next message of any worker and acts on it. No other process writes the store.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin import atomic
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Result, make_environment_key
from fanin.crash_points import pass_crash_point
from fanin.errors import DataError, FaninError, UsageError, quote
from fanin.execution.blocks import (
    NO_FINGERPRINTS,
    find_started_matmul,
    find_unfinished,
    select_cells,
)
from fanin.execution.cell_queue import CellQueue
from fanin.execution.engine import DEFAULT_ENGINE
from fanin.execution.events import (
    CellFinished,
    CellStarted,
    EpochFinished,
    Event,
    Notice,
    RunStarted,
    WorkerLost,
)
from fanin.execution.executors import LocalExecutor
from fanin.execution.messages import CellDone, CellStopped, EpochDone, Train
from fanin.execution.run_summary import RunSummary
from fanin.execution.signals import Interrupts, RunInterrupted, catch_interrupts
from fanin.execution.usable_cores import count_usable_cores
from fanin.execution.worker_pool import CellInTraining, CellLost, CellUpdate, WorkerPool
from fanin.store.progress_file import ProgressFile, RunningCell, RunProgress
from fanin.store.results_store import Store

RETRIES = 1
"""How often one command retries a cell whose worker died or hung."""
GRACE_PERIOD = 10.0
"""Seconds that an interrupted cell has to reach the end of its epoch."""
_TICK = 0.2


@dataclass(frozen=True, kw_only=True)
class _Options:
    workers: int
    device: str
    checkpoint_interval: float
    timeout: float
    save_weights: bool
    accept_changed: bool
    fingerprints: Mapping[str, str]
    matmul: str | None
    forgotten: frozenset[str]

    def __post_init__(self) -> None:
        if not self.workers >= 1:
            raise UsageError(f"workers must be at least 1, not {quote(self.workers)}.")
        if not self.checkpoint_interval >= 0:  # true for NaN as well
            raise UsageError(
                "checkpoint_interval must be at least 0 seconds, not "
                f"{quote(self.checkpoint_interval)}."
            )
        if not self.timeout > 0:
            raise UsageError(f"timeout must be more than 0 seconds, not {quote(self.timeout)}.")


def run_plan(
    plan: Plan,
    out: Path | str,
    *,
    workers: int | None = None,
    device: str = "cpu",
    checkpoint_interval: float = 10.0,
    timeout: float = 1800.0,
    save_weights: bool = False,
    accept_changed: bool = False,
    fingerprints: Mapping[str, str] = NO_FINGERPRINTS,
    matmul: str | None = None,
    forgotten: Iterable[str] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    engine: str = DEFAULT_ENGINE,
) -> RunSummary:
    """Train the cells of a plan that have no result, or that failed or were killed, and store the
    results in `out`.

    Finished cells are in the store whatever happens. Call it again to continue.

    Args:
        plan: the cells, in the order in which they are trained.
        out: the results folder; created if missing.
        workers: the number of processes; by default one per usable core, on a GPU one.
        device: a torch device.
        checkpoint_interval: the least seconds between two checkpoints of a cell; 0 writes one after
            every epoch.
        timeout: seconds without a finished epoch after which a cell counts as hung. It is then
            tried once more.
        save_weights: keep initial and best weights in ``<out>/weights``.
        accept_changed: complete blocks that were begun in another environment or with other data,
            instead of training them again.
        fingerprints: spec of a data set → the fingerprint of its data, as the caller has loaded
            them. A worker that loads other data trains nothing on them.
        matmul: the matmul backend, if it is exact here; by default that of blocks that are half
            done, or the fastest exact one, which workers choose.
        forgotten: ids of cells that are trained whatever result they have.
        on_event: called with every event, in this thread.
        engine: what trains, as ``module:factory`` (`fanin.execution.engine`).

    Raises `RunInterrupted` after a signal (`fanin.execution.signals`), and `OutputError`,
    `StoreLocked`, `StoreCorrupt` or `StoreFull`.
    """
    options = _Options(
        workers=workers if workers is not None else count_usable_cores() if device == "cpu" else 1,
        device=device,
        checkpoint_interval=checkpoint_interval,
        timeout=timeout,
        save_weights=save_weights,
        accept_changed=accept_changed,
        fingerprints=fingerprints,
        matmul=matmul,
        forgotten=frozenset(forgotten),
    )
    with catch_interrupts() as interrupts, Store.create_or_open(out) as store:
        store.set_plan(plan)
        if plan.study_toml:
            atomic.write(store.folder.study, plan.study_toml)
        pass_crash_point("runner.after_plan")
        executor = LocalExecutor(engine, store.folder.logs)
        return _Run(store, plan, options, executor, interrupts, on_event).complete()


class _Run:
    """The work of one command on one store."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        options: _Options,
        executor: LocalExecutor,
        interrupts: Interrupts,
        emit: Callable[[Event], None],
    ) -> None:
        self._store, self._options, self._interrupts, self._emit = store, options, interrupts, emit
        self._cells = {planned.cell.id: planned.cell for planned in plan.cells}
        self._results = {
            cell: result
            for cell, result in store.read_results().items()
            if cell not in options.forgotten
        }
        self._pool = WorkerPool(
            executor,
            device=options.device,
            limit=options.workers,
            timeout=options.timeout,
            matmul=options.matmul or find_started_matmul(self._cells.values(), self._results),
            cells=tuple(self._cells.values()),
            emit=emit,
        )
        self._progress = ProgressFile(store.folder.progress)
        self._queue = CellQueue()
        self._has_selected_cells = False
        self._crashes: Counter[str] = Counter()
        self._to_train = self._trained = 0
        self._data_failed = False
        self._began = time.monotonic()
        self._deadline: float | None = None
        """When an interrupted run stops waiting for checkpoints."""

    def complete(self) -> RunSummary:
        """Train until no cell is left to train or to retry."""
        # Only a worker can tell the environment of this machine, and the environment decides which
        # cells are trained. Until then the queue holds those that need training in any case.
        self._queue.fill(
            find_unfinished(
                self._cells.values(),
                self._results,
                fingerprints=self._options.fingerprints,
                accept_changed=self._options.accept_changed,
            )
        )
        if not self._queue:
            self._emit(RunStarted(len(self._cells), 0, 0, {}))
        try:
            while self._queue or self._pool.in_training:
                self._pool.staff(len(self._queue) + len(self._pool.in_training))
                self._assign_cells()
                if (update := self._pool.wait_for_update(_TICK)) is not None:
                    self._handle_update(*update)
                self._check_interrupts()
                self._write_progress()
        finally:
            self._interrupts.ending = True
            self._pool.close()
            self._progress.remove()
        # A runner that was killed after a commit has left checkpoints of settled cells.
        self._store.folder.remove_checkpoints_of(self._cells)
        return self._summarize()

    def _select_cells(self, environment: dict[str, Any]) -> None:
        """Queue the cells that this command trains, now that the environment is known."""
        self._has_selected_cells = True
        key = make_environment_key(environment)
        selection = select_cells(
            self._cells.values(),
            self._results,
            key,
            fingerprints=self._options.fingerprints,
            accept_changed=self._options.accept_changed,
        )
        self._queue.fill(selection.cells)
        self._to_train = len(selection.cells)
        self._began = time.monotonic()
        workers = min(self._options.workers, len(selection.cells))
        self._emit(RunStarted(len(self._cells), len(selection.cells), workers, environment))
        if selection.changed:
            names = sorted({c.data for c in selection.cells if c.id in selection.changed})
            self._emit(
                Notice(
                    f"{len(selection.changed)} finished cells are trained again, because the data "
                    f"have changed since: {', '.join(names)}. --accept-changed keeps them."
                )
            )
        if selection.retrained:
            self._emit(
                Notice(
                    f"{len(selection.retrained)} finished cells are trained again, because their "
                    f"blocks were begun in an environment other than this one ({key}). "
                    "--accept-changed keeps them."
                )
            )

    def _assign_cells(self) -> None:
        """Give every idle worker a cell."""
        if self._pool.environment is None:
            return
        if not self._has_selected_cells:
            self._select_cells(self._pool.environment)
        folder = self._store.folder
        for worker in self._pool.list_idle_workers():
            cell = self._queue.take(self._pool.get_imports(worker))
            if cell is None:
                continue
            command = Train(
                cell=cell.to_json(),
                checkpoints=str(folder.checkpoints),
                checkpoint_interval=self._options.checkpoint_interval,
                weights=str(folder.weights) if self._options.save_weights else None,
                fingerprint=self._options.fingerprints.get(cell.data, ""),
            )
            self._pool.assign(worker, cell, command)
            self._emit(CellStarted(cell, worker.number))
        # Idle workers have now imported other user code than that of the cells that wait.
        for worker in self._pool.list_idle_workers()[: len(self._queue)]:
            self._pool.dismiss(worker)

    def _handle_update(self, current: CellInTraining, update: CellUpdate) -> None:
        match update:
            case EpochDone():
                self._emit(EpochFinished(current.cell, current.worker.number, update.row))
            case CellDone():
                self._handle_result(current, update)
            case CellLost() if self._deadline is None:
                self._handle_loss(current, update)
            case CellStopped() if self._deadline is None:
                reason = "its worker gave it back without a result, which nobody had asked for"
                self._handle_loss(current, CellLost(reason, hung=False, last_output=""))

    def _handle_result(self, current: CellInTraining, done: CellDone) -> None:
        result = Result.from_json(done.record)
        if result.cell != current.cell:
            raise FaninError(
                f"A worker returned a result of cell {result.cell.id}; expected one of cell "
                f"{current.cell.id}."
            )
        self._data_failed |= done.exit_code == DataError.exit_code
        if result.outcome == "failed" and self._options.device != "cpu":
            # After an error on a GPU, nothing in the same process can be trusted.
            self._pool.dismiss(current.worker)
        self._commit(result)

    def _handle_loss(self, current: CellInTraining, lost: CellLost) -> None:
        cell = current.cell
        self._crashes[cell.id] += 1
        retried = self._crashes[cell.id] <= RETRIES
        self._emit(WorkerLost(current.worker.number, cell, lost.reason, retried))
        if retried:
            self._queue.put_back(cell)
            return
        times = f" ({self._crashes[cell.id]} times)" if self._crashes[cell.id] > 1 else ""
        output = f"\nLast output:\n{lost.last_output}" if lost.last_output else ""
        environment = self._pool.environment or {}
        self._commit(
            Result(
                cell=cell,
                outcome="killed",
                message=f"{lost.reason}{times}{output}",
                environment=environment,
            )
        )

    def _commit(self, result: Result) -> None:
        pass_crash_point("runner.after_result")
        attempt = self._store.add(result)
        self._store.folder.remove_checkpoints(result.cell.id)
        self._results[result.cell.id] = result
        self._trained += 1
        self._emit(CellFinished(result, attempt))

    def _check_interrupts(self) -> None:
        number = self._interrupts.number
        if number is None:
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE_PERIOD
            self._queue.clear()
            self._pool.stop()
            self._emit(
                Notice(
                    "Stopping: each cell writes a checkpoint at the end of its epoch. Interrupt "
                    "again to stop at once."
                )
            )
        if not self._pool.in_training or time.monotonic() > self._deadline:
            finished = len(self._cells.keys() & self._results.keys())
            raise RunInterrupted(
                number,
                f"Interrupted: {finished} of {len(self._cells)} cells have a result. Repeat the "
                "command to continue.",
            )

    def _write_progress(self) -> None:
        if not self._has_selected_cells or not self._progress.is_due():
            return
        running = tuple(
            RunningCell(
                current.cell.id, _describe(current.cell), current.epoch, current.cell.epochs
            )
            for current in self._pool.in_training.values()
        )
        elapsed = time.monotonic() - self._began
        work = self._trained + sum(min(cell.epoch / cell.epochs, 1.0) for cell in running)
        eta = elapsed * (self._to_train - work) / work if work else None
        done = len(self._cells) - self._to_train + self._trained
        self._progress.write(
            RunProgress(os.getpid(), len(self._cells), done, running, elapsed, eta)
        )

    def _summarize(self) -> RunSummary:
        counts = Counter(
            result.outcome for cell, result in self._results.items() if cell in self._cells
        )
        wrong = len(self._cells) - counts["ok"] - counts["diverged"]
        return RunSummary(
            dict(counts),
            self._trained,
            DataError.exit_code if self._data_failed else int(wrong > 0),
        )


def _describe(cell: Cell) -> str:
    return f"{cell.workload}, {cell.initializer}, replicate {cell.replicate}"
