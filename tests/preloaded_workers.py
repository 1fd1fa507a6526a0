"""Workers that start in milliseconds: forked from a process that has imported torch already.

A worker imports for seconds before it trains. Tests of what is trained use the fixture
`preloaded_workers`; tests of the workers themselves, of their start and of their death do not.

As a program, ``python preloaded_workers.py FD``, this is the process that is forked. For each order
that it receives it forks a guardian, which forks the worker, reports its process id, waits for it
and reports its status.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

ORDER_LIMIT = 2**20
DESCRIPTOR = "FANIN_TEST_NURSERY"
"""Environment variable that hands a nursery on to a runner in a process of its own."""


class Nursery:
    """Starts workers by orders to a process that has imported everything."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders

    def start(self, command: list[str], *, env: dict[str, str], **_: Any) -> PreloadedProcess:
        """What ``subprocess.Popen`` would start for the runner."""
        assert command[2:4] == ["-m", "fanin.execution.worker"]
        pipes = [os.pipe() for _ in range(4)]
        ours = [pipes[0][1], *(reading for reading, _ in pipes[1:])]
        theirs = [pipes[0][0], *(writing for _, writing in pipes[1:])]
        order = json.dumps(
            {"arguments": command[4:], "environment": env, "folder": str(Path.cwd())}
        )
        socket.send_fds(self.orders, [order.encode()], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        return PreloadedProcess(*ours)

    def as_subprocess(self) -> SimpleNamespace:
        """What the executor finds in place of the module `subprocess`."""
        return SimpleNamespace(Popen=self.start, PIPE=subprocess.PIPE)


class PreloadedProcess:
    """What the executor uses of ``subprocess.Popen``."""

    def __init__(self, stdin: int, stdout: int, stderr: int, status: int) -> None:
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb")
        self.stderr: IO[bytes] = os.fdopen(stderr, "rb")
        self._status = os.fdopen(status)
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def wait(self) -> int:
        if self.returncode is None:
            with self._status:
                self.returncode = os.waitstatus_to_exitcode(int(self._status.readline()))
        return self.returncode


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    """A nursery, whose process ends with the block or with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    theirs.close()
    with ours:
        yield Nursery(ours)
    process.kill()  # its workers are their runners' to end
    process.wait()


def serve(orders: socket.socket) -> None:
    """Fork a worker for each order."""
    preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guardians leave nothing behind
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, ORDER_LIMIT, 4)
        if not message:
            return
        if os.fork() == 0:
            orders.close()
            guard(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def preload() -> None:
    """Import what a worker imports, without random numbers or threads."""
    import torch

    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports more of torch
    # scikit-learn holds most data sets of the tests, and takes half as long as torch.
    for module in ("sklearn.datasets", "fanin.study.study", "fanin.training.train"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def guard(order: dict[str, Any], descriptors: list[int]) -> None:
    """In the guardian: fork the worker, and report its process id and status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)
        become_worker(order, descriptors)
    with contextlib.suppress(OSError):  # the worker was quicker
        os.setpgid(worker, worker)
    for descriptor in (0, 1, 2, *descriptors[:3]):
        os.close(descriptor)
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptors[3], f"{worker}\n".encode())
        os.write(descriptors[3], f"{os.waitpid(worker, 0)[1]}\n".encode())
    os._exit(0)


def become_worker(order: dict[str, Any], descriptors: list[int]) -> None:
    """In the worker: do what ``python -m fanin.execution.worker`` does."""
    for number, descriptor in enumerate(descriptors):
        if number < 3:
            os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.path[:] = os.environ["PYTHONPATH"].split(os.pathsep)
    sys.argv[1:] = order["arguments"]
    random.seed()
    from fanin.execution import worker

    worker.main()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
