"""Progress of a fit that takes long, on standard error."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from fanin.screen import escape_invisible

PATIENCE = 5.0
"""Seconds without a word, before the first line and between two."""


class FitProgress:
    """Says how far a fit is, a line now and then; a fit that is done soon says nothing."""

    def __init__(self, name: str, total: int, unit: str) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._started = self._said = time.monotonic()

    def report(self, done: int, remark: str = "") -> None:
        """`done` of the units are done."""
        now = time.monotonic()
        if now - self._said < PATIENCE:
            return
        self._said = now
        left = (now - self._started) / max(done, 1) * max(self._total - done, 0)
        line = f"{self._name}: {self._unit} {done} of {self._total}"
        line += f", {remark}" if remark else ""
        with suppress(OSError, ValueError, AttributeError):  # a stream that is closed, or none
            print(escape_invisible(f"{line}, about {left:.0f} s left"), file=sys.stderr, flush=True)
