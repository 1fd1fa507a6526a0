"""Executors: what starts worker processes, and passes messages to and from them.

`LocalExecutor` starts processes on this machine, and talks to them through pipes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from fanin.execution.messages import Command, Message, decode, encode
from fanin.execution.process_limits import (
    count_oom_kills,
    explain_signal,
    measure_children_seconds,
)

LOG_LIMIT = 2**20
"""The most bytes of a worker's log; what user code prints beyond that is dropped."""
_LAST_OUTPUT_LENGTH = 2000
_KEPT_OUTPUT = 10_000
_CRASH_FRAMES = 6


@dataclass(frozen=True)
class WorkerExit:
    """A worker's process has ended."""

    status: int
    """The exit status; -n if signal n killed the process."""
    last_output: str
    hint: str = ""
    """Why a signal may have killed it, in brackets."""

    def __str__(self) -> str:
        if self.status >= 0:
            return f"the process ended with exit status {self.status}"
        return f"the process was killed by {_name_signal(-self.status)}{self.hint}"


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"


class LocalWorker:
    """One worker process. It has a process group of its own: Ctrl-C in a terminal does not reach
    it, and `kill` reaches all that it started.

    Its messages arrive in `inbox` as (worker, message). The last message is `WorkerExit`.
    """

    def __init__(
        self,
        number: int,
        engine: str,
        log: Path,
        inbox: SimpleQueue[tuple[LocalWorker, Message | WorkerExit]],
        on_output: Callable[[bytes], None] = lambda output: None,
    ) -> None:
        self.number = number
        self._on_output = on_output
        self._inbox = inbox
        self.log = log
        self.last_contact = time.monotonic()
        """When the last message was sent or received."""
        self._last_output = b""
        self._exit_lock = threading.Lock()
        self._oom_kills = count_oom_kills()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fanin.execution.worker", "--engine", engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_build_environment(),
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._receive, self._keep_log)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The id of the process and of its group."""
        return self._process.pid

    def send(self, command: Command, *, clear_output: bool = False) -> None:
        """Send a command. If the worker has just died, `WorkerExit` will say so.

        With `clear_output`, `WorkerExit.last_output` leaves out what was printed so far.
        """
        assert self._process.stdin is not None
        self.last_contact = time.monotonic()
        self._last_output = b"" if clear_output else self._last_output
        self._oom_kills = count_oom_kills()  # what was killed before cannot explain this worker
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(encode(command))
            self._process.stdin.flush()

    def kill(self) -> None:
        """Kill the process and all that it started."""
        with self._exit_lock:
            if self._process.returncode is None:  # else the id may belong to another process
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process, and wait until nothing of it is left."""
        self.kill()
        for thread in self._threads:
            thread.join(timeout=10)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _receive(self) -> None:
        assert self._process.stdout is not None
        # ValueError: a line that is no message. The worker cannot be trusted any more.
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:
                self._inbox.put((self, decode(line)))
                self.last_contact = time.monotonic()
        self.kill()
        with self._exit_lock:
            before = measure_children_seconds()
            status = self._process.wait()
            seconds = measure_children_seconds() - before
        kills = count_oom_kills()
        if kills is not None and self._oom_kills is not None:
            kills -= self._oom_kills
        hint = explain_signal(-status, kills, seconds)
        self._threads[1].join(timeout=2)
        last_output = shorten_output(self._last_output.decode("utf-8", "replace"))
        self._inbox.put((self, WorkerExit(status, last_output, hint)))

    def _keep_log(self) -> None:
        assert self._process.stderr is not None
        room = LOG_LIMIT
        with contextlib.ExitStack() as stack:
            log = None
            with contextlib.suppress(OSError):  # on a full disk the run goes on without a log
                log = stack.enter_context(self.log.open("ab", buffering=0))
                room -= log.tell()
            while block := os.read(self._process.stderr.fileno(), 2**16):
                self._last_output = (self._last_output + block)[-_KEPT_OUTPUT:]
                self._on_output(block)
                with contextlib.suppress(OSError):
                    if log is not None and room > 0:
                        log.write(block[:room])
                room -= len(block)


def shorten_output(output: str) -> str:
    """The end of what a worker printed.

    Of a crash only the place is kept: Python reports every thread, every caller and every module.
    """
    before, crash, report = output.partition("Fatal Python error: ")
    if crash:
        head = report.partition("\n")[0]
        _, _, current = report.partition("Current thread")
        frames = [line for line in current.splitlines() if line.startswith("  File ")]
        output = "\n".join([before.rstrip(), crash + head, *frames[:_CRASH_FRAMES]])
    return output.strip()[-_LAST_OUTPUT_LENGTH:]


class LocalExecutor:
    """Starts the worker processes of one run on this machine."""

    def __init__(self, engine: str, logs: Path) -> None:
        self._engine = engine
        self._logs = logs
        self._workers: list[LocalWorker] = []
        self._inbox: SimpleQueue[tuple[LocalWorker, Message | WorkerExit]] = SimpleQueue()
        for old in logs.glob("worker-*.log"):
            with contextlib.suppress(OSError):
                old.unlink()

    def __len__(self) -> int:
        return len(self._workers)

    def start(self) -> LocalWorker:
        """Start another worker process. It gets the lowest free number, and the log of that number:
        those of a worker that was lost, if any.
        """
        number = min(
            set(range(1, len(self._workers) + 2)) - {worker.number for worker in self._workers}
        )
        worker = LocalWorker(number, self._engine, self._logs / f"worker-{number}.log", self._inbox)
        self._workers.append(worker)
        return worker

    def receive(self, timeout: float) -> tuple[LocalWorker, Message | WorkerExit] | None:
        """The next message of any worker; None if none arrives for `timeout` seconds."""
        try:
            worker, message = self._inbox.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(message, WorkerExit) and worker in self._workers:
            self._workers.remove(worker)
            worker.close()
        return worker, message

    def close(self) -> None:
        """Kill all workers and wait until they are gone."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.close()
        self._workers.clear()


def _build_environment() -> dict[str, str]:
    """The environment variables of a worker: the runner's, its import path, and one thread."""
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    variables = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Without the module no folder can have been set. It imports torch, which takes seconds.
    user_code = sys.modules.get("fanin.user_code")
    return {**os.environ, **variables, **(user_code.build_worker_variables() if user_code else {})}
