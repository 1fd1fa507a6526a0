"""Local workers: the processes on this machine that train cells, and the pipes to them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from fanin.execution.messages import Command, Message, decode, encode

LOG_LIMIT = 2**20
"""Bytes that a worker's log may grow to; what user code prints beyond is dropped."""
_TAIL = 2000


def count_usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class WorkerExit:
    """A worker's process has ended."""

    status: int
    """Its exit status; -n if signal n killed it."""
    last_output: str

    def __str__(self) -> str:
        if self.status >= 0:
            return f"the process ended with exit status {self.status}"
        name = signal.Signals(-self.status).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was killed by {name}{hint}"


class LocalWorker:
    """One worker process, in a process group of its own: Ctrl-C in a terminal does not reach it,
    and `kill` reaches all of it.

    What it sends arrives in `inbox` as (worker, message); the last thing that arrives is `WorkerExit`.
    """

    def __init__(
        self,
        number: int,
        engine: str,
        log: Path,
        inbox: SimpleQueue[tuple[LocalWorker, Message | WorkerExit]],
    ) -> None:
        self.number = number
        self._inbox = inbox
        self.log = log
        self.last_contact = time.monotonic()
        """When it was last spoken to or heard of."""
        self._tail = b""
        self._ended = threading.Lock()
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
        """The process id, which is that of its group too."""
        return self._process.pid

    def send(self, command: Command, *, clear_output: bool = False) -> None:
        """Give the worker a command; one that has just died will be reported as `WorkerExit`.

        With `clear_output`, what it has printed so far is no longer part of `WorkerExit.last_output`.
        """
        assert self._process.stdin is not None
        self.last_contact = time.monotonic()
        self._tail = b"" if clear_output else self._tail
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(encode(command))
            self._process.stdin.flush()

    def kill(self) -> None:
        """End the process and what it started, now."""
        with self._ended:
            if self._process.returncode is None:  # later the number may belong to another process
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """`kill`, and wait until nothing of it is left."""
        self.kill()
        for thread in self._threads:
            thread.join(timeout=10)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _receive(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(
            ValueError, OSError
        ):  # a line that is no message: this worker cannot be trusted further
            for line in self._process.stdout:
                self._inbox.put((self, decode(line)))
                self.last_contact = time.monotonic()
        self.kill()
        with self._ended:
            status = self._process.wait()
        self._threads[1].join(timeout=2)
        self._inbox.put((self, WorkerExit(status, self._tail.decode("utf-8", "replace").strip())))

    def _keep_log(self) -> None:
        assert self._process.stderr is not None
        room = LOG_LIMIT
        with contextlib.ExitStack() as stack:
            log = None
            with contextlib.suppress(OSError):  # a full disk costs the log, not the run
                log = stack.enter_context(self.log.open("ab", buffering=0))
                room -= log.tell()
            while block := os.read(self._process.stderr.fileno(), 2**16):
                self._tail = (self._tail + block)[-_TAIL:]
                with contextlib.suppress(OSError):
                    if log is not None and room > 0:
                        log.write(block[:room])
                room -= len(block)


class LocalExecutor:
    """The worker processes of one run."""

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
        """Start one more worker process. It takes the lowest free number, and with it the log, of
        one that was lost.
        """
        number = min(
            set(range(1, len(self._workers) + 2)) - {worker.number for worker in self._workers}
        )
        worker = LocalWorker(number, self._engine, self._logs / f"worker-{number}.log", self._inbox)
        self._workers.append(worker)
        return worker

    def receive(self, timeout: float) -> tuple[LocalWorker, Message | WorkerExit] | None:
        """The next message of any worker; None if there is none for `timeout` seconds."""
        try:
            worker, message = self._inbox.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(message, WorkerExit) and worker in self._workers:
            self._workers.remove(worker)
            worker.close()
        return worker, message

    def close(self) -> None:
        """Kill all and wait until they are gone."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.close()
        self._workers.clear()


def _build_environment() -> dict[str, str]:
    """The runner's environment, with one thread per worker and the runner's own import path."""
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
