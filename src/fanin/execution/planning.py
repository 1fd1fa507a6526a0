"""Planning: what is asked of a study before anything is trained.

User code answers some of these questions: a file is imported, a model is built, data are made. It
may do anything: end the process, crash it, print, change the settings of torch. So a study that
names user code is planned in a process of its own, a worker, which is asked one question at a
time. Any other study is planned in this process.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.errors import UserCodeError
from fanin.execution.engine import DEFAULT_ENGINE
from fanin.execution.executors import LocalWorker, WorkerExit
from fanin.execution.messages import Answer, Ask, Message, NoAnswer

if TYPE_CHECKING:
    from fanin.study.study import Study

_SHOWN_OUTPUT = 10_000
"""The most bytes of what user code prints that are shown after each answer."""


class Planner:
    """Answers questions about one study. Use it in a ``with`` block, which ends its process."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._references = list_references(study)
        self._worker: LocalWorker | None = None
        self._inbox: SimpleQueue[tuple[LocalWorker, Message | WorkerExit]] = SimpleQueue()
        self._output = b""

    @property
    def is_apart(self) -> bool:
        """Whether the study names user code, which runs in another process."""
        return bool(self._references)

    def ask(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """What a function of fanin returns, called where user code may run.

        Args:
            function: a function of a module, whose arguments and result are JSON values.
            arguments: its arguments, by name.

        Raises what it raises, and `UserCodeError` if user code ends the process.
        """
        if not self.is_apart:
            return function(**arguments)
        if self._worker is None:
            log = Path(os.devnull)
            self._worker = LocalWorker(0, DEFAULT_ENGINE, log, self._inbox, self._keep_output)
        self._worker.send(Ask(f"{function.__module__}:{function.__name__}", arguments))
        _, message = self._inbox.get()
        if isinstance(message, WorkerExit):
            self._output = b""  # the error holds its end
            raise self._explain_exit(message)
        self._print_output()
        if isinstance(message, Answer):
            return message.value
        assert isinstance(message, NoAnswer)
        raise message.to_error()

    def plan(self, **options: Any) -> Plan:
        """The study's plan; arguments and errors as for `Study.plan`."""
        if not self.is_apart:
            return self.study.plan(**options)
        only = options.get("only") or {}
        options["only"] = {axis: list(labels) for axis, labels in only.items()}
        return Plan.from_json(
            self.ask(
                expand_study,
                toml=self.study.to_toml(),
                name=self.study.name,
                lines=list(self.study.lines.text),
                options=options,
            )
        )

    def read_fingerprint(self, dataset: str) -> str:
        """The fingerprint of a data set, once loaded here or there."""
        fingerprint: str = (
            self.ask(load_fingerprint, dataset=dataset)
            if names_user_code(dataset)
            else load_fingerprint(dataset)
        )
        return fingerprint

    def bound_seconds(self, cells: Sequence[Cell], workers: int) -> float:
        """The most seconds that the cells take (`fanin.execution.training_time`)."""
        records = [cell.to_json() for cell in cells]
        seconds: float = self.ask(measure_seconds, cells=records, workers=workers)
        return seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_process()

    def end_process(self) -> None:
        """End the process, to free its memory. The next question starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker, self._inbox = None, SimpleQueue()
            self._print_output()

    def _keep_output(self, output: bytes) -> None:
        self._output = (self._output + output)[-_SHOWN_OUTPUT:]

    def _print_output(self) -> None:
        """Show what user code has printed since the last time, on standard error."""
        output, self._output = self._output, b""
        if output and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(output.decode("utf-8", "replace"))
                sys.stderr.flush()

    def _explain_exit(self, worker_exit: WorkerExit) -> UserCodeError:
        """The error to raise if the process has ended instead of answering."""
        output = f"\nIts last output:\n{worker_exit.last_output}" if worker_exit.last_output else ""
        return UserCodeError(
            f"Planning runs {', '.join(self._references)} in a process of its own, and "
            f"{worker_exit} before it had answered. Expected code that can be imported and called "
            f"without ending or crashing its process; correct it, then repeat the command.{output}"
        )


def names_user_code(value: object) -> bool:
    """Whether a value of a study, such as a spec or a list of specs, may name user code.

    Only a reference has a colon. So nothing has to be parsed, which may not be possible yet.
    """
    if isinstance(value, str):
        return ":" in value
    if isinstance(value, Mapping):
        return any(names_user_code(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(names_user_code(item) for item in value)


def list_references(study: Study) -> list[str]:
    """The values of a study that name user code, each once."""
    values = [
        *study.base.values(),
        *(value.value for grid in study.grids for axis in grid.values() for value in axis),
    ]
    return list(dict.fromkeys(str(value) for value in values if names_user_code(value)))


def expand_study(*, toml: str, name: str, lines: list[str], options: dict[str, Any]) -> Any:
    """The plan of a study in JSON.

    Args:
        toml: the study, as a file holds it.
        name: its name.
        lines: of the file that the user has written, for errors.
        options: of `Study.plan`.
    """
    from fanin.study.line_numbers import LineNumbers
    from fanin.study.study import Study

    study = Study.from_toml(toml, name)
    return replace(study, lines=LineNumbers.from_toml("\n".join(lines))).plan(**options).to_json()


def load_fingerprint(dataset: str) -> str:
    """The fingerprint of a data set, which is loaded."""
    from fanin import data  # imports torch, which reading results must not

    return data.load(dataset).fingerprint


def measure_seconds(*, cells: list[dict[str, Any]], workers: int) -> float:
    """The most seconds that training takes (`fanin.execution.training_time`). What users' functions
    take is not known, and not counted.
    """
    from fanin import data
    from fanin.execution.training_time import bound_seconds, measure_paces

    to_train = [cell for cell in map(Cell.from_json, cells) if cell.trainer is None]
    sizes = {cell.data: data.describe(cell.data) for cell in to_train}
    return bound_seconds(to_train, measure_paces(to_train), sizes, workers)
