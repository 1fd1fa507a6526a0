"""Ctrl-C and SIGTERM during a run: the first signal stops it cleanly, the second at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from fanin.errors import FaninError


class RunInterrupted(FaninError):
    """A signal ended the run; `exit_code` is 130 for SIGINT and 143 for SIGTERM."""

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
    """Handle SIGINT and SIGTERM, and restore the previous handlers at the end. Does nothing outside
    the main thread.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    previous = {
        number: signal.signal(number, interrupts.receive)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interrupts
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
