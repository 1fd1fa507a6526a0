"""The training of one cell by a user's function, which takes the place of fanin's own loop.

The function receives the cell's initializer, seeds and settings, and returns metrics or yields them
epoch by epoch. What it gives becomes a result like any other: a loss that is not finite is a
divergence, and a metric that is not finite is missing.
"""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fanin import apply, seeds, user_code
from fanin.cell.cell import Cell
from fanin.cell.directions import find_direction, strip_subset
from fanin.cell.result import Result
from fanin.errors import FaninError, FitError, UserCodeError
from fanin.training.cell_initializer import CellInitializer
from fanin.training.train import TrainingInterrupted
from fanin.training.training_state import EpochRow
from fanin.training.user_metrics import read_metrics
from fanin.training.user_trainer import REGISTRY, UserTrainer
from fanin.user_code.callables import describe_error, locate_error

_SHOWN_LINES = 40
"""The most lines of a traceback that a message keeps: its end, which names the cause."""


def train_by_own_code(
    cell: Cell,
    *,
    environment: dict[str, Any],
    device: str = "cpu",
    on_epoch: Callable[[EpochRow], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Call a cell's trainer and return its result, with outcome ok or diverged.

    torch's, Python's and NumPy's global generators start from the plain seed, which is the same for
    all initializers of a replicate, and are put back at the end.

    Args:
        cell: what to train; `cell.trainer` names the function.
        environment: recorded with the result.
        device: passed to a function that has a parameter `device`.
        on_epoch: called with each mapping that the function yields or reports, its number and
            seconds.
        stop: asked after each of them; true ends the training with `TrainingInterrupted`.

    Raises `UserCodeError` if the function raises an error, with its file, line and traceback, and
    `FitError` if it gives something else than its contract says.
    """
    started = time.perf_counter()
    user_code.require_unchanged(cell.sources)
    assert cell.trainer is not None
    trainer = REGISTRY.make(cell.trainer)
    training = _OwnTraining(cell, trainer, on_epoch, stop)
    with seeds.preserve_global_state(_derive_plain_seed(cell)), apply.collect_unfilled() as unknown:
        training.complete(device)
    total = time.perf_counter() - started
    return Result(
        cell=cell,
        outcome="diverged" if training.diverged else "ok",
        message=training.diverged,
        history=training.history,
        metrics=training.list_metrics(),
        timings={"initialize": training.initialize.seconds, "train": total, "total": total},
        environment=environment,
        data=training.describe(unknown),
    )


def list_arguments(cell: Cell, device: str) -> dict[str, Any]:
    """What a trainer may take by name (`fanin.user_code.TRAINER`)."""
    purposes = ("init", "order", "dropout", "split")
    return {
        "seed": _derive_plain_seed(cell),
        "learning_rate": cell.learning_rate,
        "replicate": cell.replicate,
        "epochs": cell.epochs,
        "batch_size": cell.batch_size,
        "model": cell.model,
        "data": cell.data,
        "device": device,
        **{f"{purpose}_seed": cell.derive_seed(purpose) for purpose in purposes},
    }


def _derive_plain_seed(cell: Cell) -> int:
    """One number of 32 bits for all randomness but the initialization.

    It follows from the seeds of order, dropout and split, so a study may vary any of them.
    """
    order, *others = (cell.derive_seed(purpose) for purpose in ("order", "dropout", "split"))
    return seeds.derive_stream(order, "trainer", *others)


class _Diverged(Exception):
    """Raised to end a training that has diverged."""


@dataclass
class _OwnTraining:
    """One call of a trainer, and what it has given so far."""

    cell: Cell
    trainer: UserTrainer
    on_epoch: Callable[[EpochRow], None]
    stop: Callable[[], bool]
    history: dict[str, list[float]] = field(default_factory=dict)
    diverged: str = ""
    epochs: int = 0
    _last: dict[str, float] = field(default_factory=dict)
    """The metrics that count: those yielded last, and those returned."""
    _began: float = 0.0
    """When the epoch began."""

    def __post_init__(self) -> None:
        self.initialize = CellInitializer(self.cell)

    def complete(self, device: str) -> None:
        """Call the function, and follow it to its end."""
        arguments = {**list_arguments(self.cell, device), "report": self.report}
        component = self.trainer.component
        given = {name: arguments[name] for name in component.accepts}
        given |= {
            option.name: getattr(self.trainer.options, option.name)
            for option in fields(component.options)
        }
        self._began = time.perf_counter()
        try:
            with self._explain():
                returned = component.loaded.function(self.initialize, **given)
        except _Diverged:
            return
        description = ""
        if isinstance(returned, Iterator):
            returned = self._follow(returned)
            description = "nothing, and yielded nothing" if returned is None else ""
        if self.diverged:
            return
        if returned is not None or not self.epochs:
            self._last |= read_metrics(component, returned, description)
            self.diverged = _describe_divergence(self._last, "at the end")
        self._require_initialized()
        if not self.diverged and not any(map(math.isfinite, self._last.values())):
            name, value = next(iter(self._last.items()))
            self.diverged = f"{name} {value} at the end"

    def _follow(self, rows: Iterator[Any]) -> Any:
        """Take what the function yields; returns what it returns in the end."""
        try:
            while True:
                with self._explain():
                    try:
                        row = next(rows)
                    except StopIteration as end:
                        return end.value
                self._take(row, "yielded")
        except _Diverged:
            return None
        finally:
            if close := getattr(rows, "close", None):  # ends the function's own with blocks
                with contextlib.suppress(Exception):
                    close()

    def report(self, metrics: object) -> None:
        """Take the metrics of an epoch from a callback of a framework that has the loop to itself.

        Raises `TrainingInterrupted` or `_Diverged` if the training should not go on.
        """
        self._take(metrics, "reported")

    def _take(self, metrics: object, verb: str) -> None:
        """Take the metrics of an epoch, which the function has yielded or reported."""
        self._record(metrics, time.perf_counter() - self._began, verb)
        if self.diverged:
            raise _Diverged(self.diverged)
        if self.stop():
            raise TrainingInterrupted(f"{self.cell.id} stopped after {self.epochs} epochs")
        self._began = time.perf_counter()

    def _record(self, metrics: object, seconds: float, verb: str) -> None:
        self._last = read_metrics(self.trainer.component, metrics, verb=verb)
        self._require_initialized()
        self.epochs += 1
        columns = {**self._last, "seconds": seconds}
        for name, value in columns.items():
            before = [math.nan] * (self.epochs - 1)
            self.history.setdefault(name, before).append(value)
        for column in self.history.values():  # what this epoch has left out
            column.extend([math.nan] * (self.epochs - len(column)))
        self.on_epoch({"epoch": self.epochs, **columns})
        self.diverged = _describe_divergence(self._last, f"after epoch {self.epochs}")

    def list_metrics(self) -> dict[str, float]:
        """The result's metrics; the number of epochs alone if it diverged."""
        epochs = {"epochs": float(self.epochs)} if self.epochs else {}
        if self.diverged:
            return epochs
        return epochs | {k: value for k, value in self._last.items() if math.isfinite(value)}

    def describe(self, unknown: list[str]) -> dict[str, Any]:
        """The result's `data`: where the numbers come from, and which way metrics are better."""
        declared, loaded = self.trainer.read_directions(), self.trainer.component.loaded
        names = dict.fromkeys(strip_subset(name) for name in (*self.history, *self._last))
        directions, doubts = dict[str, str](), [" ".join(text.split()) for text in unknown]
        for name in names:
            told = find_direction(name)
            if name == "seconds" or (name not in declared and told is not None):
                continue
            directions[name] = declared.get(name, "max")
            if name not in declared:
                function = loaded.reference.rpartition(":")[2]
                doubts.append(
                    f"a higher {name} counts as better, since nothing says which way is. Declare "
                    f'it: {function}.better = {{"{name}": "min"}}, or "max"'
                )
        missing = [name for name, value in self._last.items() if not math.isfinite(value)]
        return {
            "source": f"trained by {loaded.reference}, SHA-256 {loaded.sha256[:12]}",
            **({"metrics": directions} if directions else {}),
            **({"doubts": doubts} if doubts else {}),
            **({"missing_metrics": missing} if missing and not self.diverged else {}),
            **({"fit": self.initialize.fit} if self.initialize.fit else {}),
        }

    def _require_initialized(self) -> None:
        """Raise `FitError` if the function trains a model that it has not initialized."""
        if not self.initialize.was_called:
            raise FitError(
                f"{self.trainer.component.name} has not called initialize(model), so all "
                "initializers would train alike. Call it on the model before training."
            )

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """A context in which the user's code runs: its errors say file, line and the last lines."""
        loaded = self.trainer.component.loaded
        try:
            yield
        except (TrainingInterrupted, _Diverged):
            raise
        except FaninError as error:
            place = locate_error(error, loaded.file)
            raise error.add_context(f"{loaded.reference}{place}") from None
        except (Exception, SystemExit) as error:
            place = locate_error(error, loaded.file)
            epoch = f" in epoch {self.epochs + 1}" if self.epochs else ""
            lines = _format_traceback(error, loaded.file)
            raise UserCodeError(
                f"{loaded.reference} raised {describe_error(error).rstrip('.')}{place}{epoch}.\n"
                + "\n".join(lines[-_SHOWN_LINES:])
            ) from error


def _format_traceback(error: BaseException, file: Path) -> list[str]:
    """The traceback of an error from the user's file on, in lines."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != str(file):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))
    return text.rstrip().splitlines()


def _describe_divergence(metrics: Mapping[str, float], when: str) -> str:
    """The first loss that is NaN or infinite; empty if none is. Other metrics only observe."""
    for name, value in metrics.items():
        if strip_subset(name).rpartition("_")[2] == "loss" and not math.isfinite(value):
            return f"{name} {value} {when}"
    return ""
