"""The worker process, ``python -m fanin.execution.worker``.

It trains one cell at a time, and dies with its runner.

It exchanges messages with the runner over standard input and output (`fanin.execution.messages`).
Both are moved to private descriptors first, so that user code may print and read freely: what it
prints goes to standard error, which the runner writes to a log. A thread reads the commands. When
the pipe ends, because the runner has closed it or died, the thread kills the whole process group of
the worker, with everything that user code has forked.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.crash_points import pass_crash_point
from fanin.errors import FaninError
from fanin.execution.engine import DEFAULT_ENGINE, Engine, TrainingJob, load_engine
from fanin.execution.messages import (
    Answer,
    Ask,
    CellDone,
    CellStopped,
    Command,
    EpochDone,
    NoAnswer,
    Ready,
    Refused,
    SetUp,
    Stop,
    Train,
    WorkerMessage,
    decode,
    encode,
)
from fanin.execution.resource_errors import explain_resource_error
from fanin.execution.signals import STOP_SIGNALS

MESSAGE_LIMIT = 10_000
"""The most characters of a traceback that a result keeps: its end, which names the cause."""

_IGNORED = tuple(number for number in STOP_SIGNALS if number.name != "SIGXCPU")
"""Signals that may reach workers, too. A limit of CPU time is each process's own: it ends it."""


class Channel:
    """The private ends of standard input and output, and the thread that reads commands."""

    def __init__(self) -> None:
        self._incoming = os.fdopen(os.dup(0), "rb")
        self._outgoing = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        os.register_at_fork(after_in_child=self._detach_child)
        self._forked = False
        self.commands: SimpleQueue[Command] = SimpleQueue()
        self.stopping = threading.Event()
        threading.Thread(target=self._listen, name="fanin-commands", daemon=True).start()

    def send(self, report: WorkerMessage) -> None:
        """Send a message to the runner; die if it is gone. In a child that user code has forked,
        exit instead.
        """
        if self._forked:
            os._exit(0)
        line = encode(report)
        try:
            self._outgoing.write(line)
            self._outgoing.flush()
        except OSError:
            die()

    def _listen(self) -> None:
        try:
            for line in self._incoming:
                command = decode(line)
                if isinstance(command, Stop):
                    self.stopping.set()
                elif isinstance(command, SetUp | Train | Ask):
                    self.commands.put(command)
        finally:
            die()

    def _detach_child(self) -> None:
        """In a forked child: close the pipes, and restore the default signal handlers."""
        self._forked = True
        for stream in (self._incoming, self._outgoing):
            _redirect_to_null(stream)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)


class Worker:
    """Executes the commands of one runner."""

    def __init__(self, channel: Channel, engine: Engine) -> None:
        self._channel = channel
        self._engine = engine
        self._environment: dict[str, object] = {}
        self._working_folder = Path.cwd()

    def serve(self) -> None:
        """Execute commands; never returns."""
        while True:
            command = self._channel.commands.get()
            if isinstance(command, SetUp):
                self._channel.send(self._set_up(command))
            elif isinstance(command, Train):
                report = self._train(command)
                pass_crash_point("worker.before_result")
                self._channel.send(report)
                pass_crash_point("worker.after_result")
            elif isinstance(command, Ask):
                self._channel.send(_answer(command))

    def _set_up(self, command: SetUp) -> WorkerMessage:
        try:
            matmul = command.matmul
            if command.cells or matmul is None:
                cells = [Cell.from_json(cell) for cell in command.cells]
                matmul = self._engine.choose_matmul(cells, matmul)
            self._environment = self._engine.set_up(command.device, matmul)
        except Exception as error:
            return _refuse(error)
        pass_crash_point("worker.after_setup")
        return Ready(self._environment, matmul, self._engine.find_leftovers())

    def _train(self, command: Train) -> WorkerMessage:
        cell = Cell.from_json(command.cell)
        job = TrainingJob(
            cell=cell,
            checkpoints=Path(command.checkpoints),
            checkpoint_interval=command.checkpoint_interval,
            weights=Path(command.weights) if command.weights else None,
            fingerprint=command.fingerprint,
        )
        try:
            result = self._engine.train(
                job,
                lambda row: self._channel.send(EpochDone(cell.id, row)),
                self._channel.stopping.is_set,
            )
        except BaseException as error:  # user code may raise anything, SystemExit included
            return self._report_failure(cell, error)
        finally:
            with contextlib.suppress(OSError):
                os.chdir(self._working_folder)
        if result is None:
            return CellStopped(cell.id)
        if leftovers := self._engine.find_leftovers():
            print(
                f"cell {cell.id} has changed {', '.join(leftovers[:5])} for good: this worker is "
                "replaced.",
                file=sys.stderr,
            )
        return CellDone(result.to_json(), 0, leftovers)

    def _report_failure(self, cell: Cell, error: BaseException) -> CellDone:
        """A failed cell. If a GPU or memory is the reason, the worker has to be replaced."""
        message, exit_code = _explain(error)
        leftovers = self._engine.find_leftovers()
        if reason := explain_resource_error(error):
            message = f"{message}\n{reason}"
            leftovers = [*leftovers, "memory or a GPU"]
        failed = Result(cell=cell, outcome="failed", message=message, environment=self._environment)
        return CellDone(failed.to_json(), exit_code, leftovers)


def main() -> None:
    """Start a worker."""
    parser = argparse.ArgumentParser(
        prog="python -m fanin.execution.worker",
        description="A worker process. `fanin run` starts it.",
    )
    parser.add_argument("--engine", default=DEFAULT_ENGINE, metavar="MODULE:FACTORY")
    arguments = parser.parse_args()
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # started by hand: `die` must not kill the shell
    for number in _IGNORED:
        signal.signal(number, _ignore_signal)
    faulthandler.enable()
    channel = Channel()
    try:
        Worker(channel, _load_or_refuse(arguments.engine, channel)).serve()
    except BaseException:
        traceback.print_exc()
    finally:
        die()  # after an ordinary exit, processes that user code has forked would live on


def _load_or_refuse(name: str, channel: Channel) -> Engine:
    try:
        return load_engine(name)
    except Exception as error:
        channel.send(_refuse(error))
        raise


def _refuse(error: Exception) -> Refused:
    text, exit_code = _explain(error)
    return Refused(explain_resource_error(error) or text, exit_code)


def _answer(command: Ask) -> WorkerMessage:
    """What the function returns that a planner asks for, or the error that it raises."""
    module, _, name = command.function.partition(":")
    try:
        return Answer(getattr(importlib.import_module(module), name)(**command.arguments))
    except BaseException as error:  # user code may raise anything
        kind = type(error).__name__ if isinstance(error, FaninError) else ""
        return NoAnswer(kind, _explain(error)[0], list(getattr(error, "about", ())))


def die() -> None:
    """Kill this process and everything that it has started."""
    os.killpg(0, signal.SIGKILL)


def _ignore_signal(number: int, frame: object) -> None:
    """Do nothing: the runner receives the signal, too, and tells workers to write checkpoints."""


def _redirect_to_null(stream: BinaryIO) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, stream.fileno(), inheritable=False)
    os.close(nothing)


def _explain(error: BaseException) -> tuple[str, int]:
    """The message and exit code of a fanin error; the end of the traceback, and 1, of any other."""
    if isinstance(error, FaninError):
        return str(error), error.exit_code
    text = "".join(traceback.format_exception(error)).rstrip()
    return text if len(text) <= MESSAGE_LIMIT else "…" + text[-MESSAGE_LIMIT:], 1


if __name__ == "__main__":
    main()
