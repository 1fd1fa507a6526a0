"""The runner: trains what a plan lacks, and commits each result the moment it arrives.

`run_plan` takes the folder's lock, stores the plan, starts workers, and then does one thing at a
time: it waits for the next message of any worker and acts on it. The first worker to start also
finds out which matmul backend is exact here; all use that one. Only this process writes the store.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin import atomic
from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.cell.result import Outcome, Result, make_environment_key
from fanin.crash_points import pass_crash_point
from fanin.errors import DataError, FaninError, UsageError, quote
from fanin.execution import engine as engines
from fanin.execution.blocks import find_unfinished, select_cells
from fanin.execution.events import (
    CellFinished,
    CellStarted,
    EpochFinished,
    Event,
    Notice,
    RunStarted,
    WorkerLost,
)
from fanin.execution.executors import LocalExecutor, count_usable_cores
from fanin.execution.messages import CellDone, EpochDone, Train
from fanin.execution.signals import Interrupts, RunInterrupted, catch_interrupts
from fanin.execution.worker_pool import Assignment, CellLost, CellUpdate, WorkerPool
from fanin.store.progress_file import ProgressFile, RunningCell, RunProgress
from fanin.store.results_store import Store

RETRIES = 1
"""How often one command tries a cell again whose worker died."""
GRACE = 10.0
"""Seconds that an interrupted cell has to reach the end of its epoch."""
_TICK = 0.2


@dataclass(frozen=True)
class RunSummary:
    """How the plan's cells stand at the end of a command."""

    counts: Mapping[Outcome, int]
    """Cells by outcome."""
    trained: int
    """Results committed by this command."""
    exit_code: int
    """0; 1 where cells failed or were killed; 4 where the reason was data."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    workers: int
    device: str
    checkpoint_interval: float
    timeout: float
    save_weights: bool
    accept_changed: bool

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
    on_event: Callable[[Event], None] = lambda event: None,
    engine: str = engines.DEFAULT,
) -> RunSummary:
    """Train the cells of a plan that have no result yet, or one that failed or was killed, and
    store the results in `out`.

    Args:
        plan: the cells, in the order in which they are trained.
        out: results folder; made if missing.
        workers: processes; default one per usable core, on a GPU one.
        device: a torch device.
        checkpoint_interval: seconds at least between two checkpoints of a cell; 0 writes one after
            every epoch.
        timeout: seconds without a finished epoch after which a cell counts as hung.
        save_weights: keep initial and best weights in ``<out>/weights``.
        accept_changed: complete blocks that were begun in another environment instead of training
            them anew.
        on_event: told of everything that happens, in this thread.
        engine: what trains, as ``module:factory`` (`fanin.execution.engine`).

    Raises `RunInterrupted` after SIGINT or SIGTERM, and `OutputError`, `StoreLocked`,
    `StoreCorrupt`, `StoreFull`. Finished cells are in the store whatever happens, and calling again
    continues.
    """
    options = _Options(
        workers=workers if workers is not None else count_usable_cores() if device == "cpu" else 1,
        device=device,
        checkpoint_interval=checkpoint_interval,
        timeout=timeout,
        save_weights=save_weights,
        accept_changed=accept_changed,
    )
    with catch_interrupts() as interrupts, Store.create_or_open(out) as store:
        store.set_plan(plan)
        if plan.study_toml:
            atomic.write(store.folder.study, plan.study_toml)
        pass_crash_point("runner.after_plan")
        workers_here = LocalExecutor(engine, store.folder.logs)
        return _Run(store, plan, options, workers_here, interrupts, on_event).complete()


class _Run:
    """One command's work on one store."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        options: _Options,
        workers: LocalExecutor,
        interrupts: Interrupts,
        emit: Callable[[Event], None],
    ) -> None:
        self._store, self._options, self._interrupts, self._emit = store, options, interrupts, emit
        self._cells = {planned.cell.id: planned.cell for planned in plan.cells}
        self._results = store.read_results()
        self._pool = WorkerPool(
            workers,
            device=options.device,
            limit=options.workers,
            timeout=options.timeout,
            cells=tuple(self._cells.values()),
            emit=emit,
        )
        self._progress = ProgressFile(store.folder.progress)
        self._queue: deque[Cell] = deque()
        self._decided = False
        self._crashes: Counter[str] = Counter()
        self._to_train = self._trained = 0
        self._data_failed = False
        self._began = time.monotonic()
        self._deadline: float | None = None

    def complete(self) -> RunSummary:
        """Train until every cell of the plan has had its chance."""
        # Which cells these are in the end depends on this machine's environment, which only a
        # worker can tell.
        self._queue.extend(
            find_unfinished(
                self._cells.values(), self._results, accept_changed=self._options.accept_changed
            )
        )
        if not self._queue:
            self._emit(RunStarted(len(self._cells), 0, 0, {}))
        try:
            while self._queue or self._pool.assignments:
                self._pool.staff(len(self._queue) + len(self._pool.assignments))
                self._hand_out()
                if (news := self._pool.wait_for_update(_TICK)) is not None:
                    self._act(*news)
                self._heed_interrupts()
                self._write_progress()
        finally:
            self._interrupts.ending = True
            self._pool.close()
            self._progress.remove()
        for (
            cell_id
        ) in self._cells:  # what a runner left that was killed between committing and tidying up
            self._store.folder.remove_checkpoints(cell_id)
        return self._summarize()

    def _decide(self, environment: dict[str, Any]) -> None:
        """Now that the environment is known: which cells this command trains."""
        self._decided = True
        key = make_environment_key(environment)
        todo = select_cells(
            self._cells.values(), self._results, key, accept_changed=self._options.accept_changed
        )
        self._queue = deque(todo.cells)
        self._to_train = len(todo.cells)
        self._began = time.monotonic()
        workers = min(self._options.workers, len(todo.cells))
        self._emit(RunStarted(len(self._cells), len(todo.cells), workers, environment))
        if todo.retrained:
            self._emit(
                Notice(
                    f"{len(todo.retrained)} finished cells are trained anew, since the blocks they "
                    "belong to were begun in another "
                    f"environment than this one ({key}). --accept-changed would keep them."
                )
            )

    def _hand_out(self) -> None:
        """Give every idle worker a cell."""
        if self._pool.environment is None:
            return
        if not self._decided:
            self._decide(self._pool.environment)
        folder = self._store.folder
        while self._queue and (worker := self._pool.get_idle_worker()) is not None:
            cell = self._queue.popleft()
            command = Train(
                cell=cell.to_json(),
                checkpoints=str(folder.checkpoints),
                checkpoint_interval=self._options.checkpoint_interval,
                weights=str(folder.weights) if self._options.save_weights else None,
            )
            self._pool.assign(worker, cell, command)
            self._emit(CellStarted(cell, worker.number))

    def _act(self, training: Assignment, news: CellUpdate) -> None:
        match news:
            case EpochDone():
                self._emit(EpochFinished(training.cell, training.worker.number, news.row))
            case CellDone():
                self._record_result(training, news)
            case CellLost() if self._deadline is None:
                self._handle_loss(training, news)

    def _record_result(self, training: Assignment, news: CellDone) -> None:
        result = Result.from_json(news.record)
        if result.cell != training.cell:
            raise FaninError(
                f"A worker was to train cell {training.cell.id} and returned {result.cell.id}."
            )
        self._data_failed |= news.exit_code == DataError.exit_code
        if result.outcome == "failed" and self._options.device != "cpu":
            self._pool.dismiss(
                training.worker
            )  # after an error on a GPU, nothing in the same process can be trusted
        self._commit(result)

    def _handle_loss(self, training: Assignment, gone: CellLost) -> None:
        cell = training.cell
        self._crashes[cell.id] += 1
        retried = not gone.hung and self._crashes[cell.id] <= RETRIES
        self._emit(WorkerLost(training.worker.number, cell, gone.reason, retried))
        if retried:
            self._queue.appendleft(cell)
            return
        times = f" ({self._crashes[cell.id]} times)" if self._crashes[cell.id] > 1 else ""
        output = f"\nLast output:\n{gone.last_output}" if gone.last_output else ""
        environment = self._pool.environment or {}
        self._commit(
            Result(
                cell=cell,
                outcome="killed",
                message=f"{gone.reason}{times}{output}",
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

    def _heed_interrupts(self) -> None:
        number = self._interrupts.number
        if number is None:
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE
            self._queue.clear()
            self._pool.stop()
            self._emit(
                Notice(
                    "Stopping: cells write a checkpoint at the end of their epoch. Once more stops "
                    "at once."
                )
            )
        if not self._pool.assignments or time.monotonic() > self._deadline:
            there = f"{len(self._cells.keys() & self._results.keys())} of {len(self._cells)} cells have a result"
            raise RunInterrupted(number, f"Interrupted; {there}. The same command continues.")

    def _write_progress(self) -> None:
        if not self._decided or not self._progress.is_due():
            return
        running = tuple(
            RunningCell(
                training.cell.id, _describe(training.cell), training.epoch, training.cell.epochs
            )
            for training in self._pool.assignments.values()
        )
        elapsed = time.monotonic() - self._began
        work = self._trained + sum(cell.epoch / cell.epochs for cell in running)
        eta = elapsed * (self._to_train - work) / work if work else None
        done = len(self._cells) - self._to_train + self._trained
        self._progress.write(
            RunProgress(os.getpid(), len(self._cells), done, running, elapsed, eta)
        )

    def _summarize(self) -> RunSummary:
        counts = Counter(
            result.outcome for cell, result in self._results.items() if cell in self._cells
        )
        wrong = counts["failed"] + counts["killed"]
        return RunSummary(
            dict(counts),
            self._trained,
            DataError.exit_code if self._data_failed else int(wrong > 0),
        )


def _describe(cell: Cell) -> str:
    return f"{cell.model} on {cell.data}, {cell.initializer}, replicate {cell.replicate}"
