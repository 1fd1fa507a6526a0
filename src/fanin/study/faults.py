"""Crash points: named places where a test can end the process as ``kill -9`` would.

``FANIN_FAULT_AT=name`` kills the process with SIGKILL the first time it passes `crash_point(name)`, ``FANIN_FAULT_AT=name:n``
the n-th time. Workers inherit the variable, so without more every new worker crashes there again; where ``FANIN_FAULT_ONCE``
names a file, only the process that creates it crashes.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

AT = "FANIN_FAULT_AT"
ONCE = "FANIN_FAULT_ONCE"

POINTS = (
    "store.before_created",
    "store.before_commit",
    "store.after_commit",
    "runner.after_plan",
    "runner.after_result",
    "worker.after_setup",
    "worker.before_result",
    "worker.after_result",
    "checkpoint.before_replace",
    "checkpoint.after_replace",
    "file.before_replace",
)
"""Every crash point that the program passes; the tests go through all of them."""

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill this process here if the environment asks for it; otherwise do nothing."""
    wanted, _, count = os.environ.get(AT, "").partition(":")
    if name != wanted:
        return
    _passed[name] += 1
    if _passed[name] == int(count or 1) and _first_to_crash():
        os.kill(os.getpid(), signal.SIGKILL)


def _first_to_crash() -> bool:
    marker = os.environ.get(ONCE)
    if marker is None:
        return True
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
