"""Signals during a run: the first stops it cleanly, the second at once.

Ctrl-C, SIGTERM, SIGHUP (the terminal is gone), SIGUSR1 (a batch system's warning) and SIGXCPU (the
soft limit of CPU time).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from fanin.errors import FaninError

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")
    if hasattr(signal, name)  # not all of them exist on Windows
)
"""The signals that stop a run."""


class RunInterrupted(FaninError):
    """A signal ended the run; `exit_code` is 128 + its number: 130 for SIGINT."""

    def __init__(self, number: int, text: str = "") -> None:
        name = signal.Signals(number).name
        super().__init__(
            text or f"Stopped by {name}. Finished cells are safe. Repeat the command to continue."
        )
        self.exit_code = 128 + number


@dataclass
class Interrupts:
    """The signals received so far."""

    number: int | None = None
    """The first signal."""
    ending: bool = False
    """Whether the run is shutting down, which no signal may interrupt."""

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Record the first signal; raise `RunInterrupted` for the second."""
        if self.number is None:
            self.number = number
        elif not self.ending:
            self.ending = True
            raise RunInterrupted(number)


@contextlib.contextmanager
def catch_interrupts() -> Iterator[Interrupts]:
    """Handle `STOP_SIGNALS`, and restore the previous handlers at the end.

    A signal that is ignored, such as SIGHUP under nohup, stays so. Does nothing outside the main
    thread.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    previous = {
        number: signal.signal(number, interrupts.receive)
        for number in STOP_SIGNALS
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield interrupts
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
