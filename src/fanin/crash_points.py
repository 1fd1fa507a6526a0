"""Crash points: named places where a test can end the process as ``kill -9`` would.

With ``FANIN_FAULT_AT=name`` the process is killed by SIGKILL when it calls
`pass_crash_point(name)` for the first time, with ``FANIN_FAULT_AT=name:n`` for the n-th time.
Commas separate several points. Workers inherit the variable, so that every new worker crashes
there again. If ``FANIN_FAULT_ONCE`` names a folder, each point kills one process only, and leaves
a file of its name in the folder.
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
"""Every crash point that the program passes. The tests crash at each of them."""

_passed: Counter[str] = Counter()


def pass_crash_point(name: str) -> None:
    """Kill this process here if the environment asks for it; otherwise do nothing."""
    for wanted in os.environ.get(AT, "").split(","):
        point, _, count = wanted.partition(":")
        if name == point:
            _passed[name] += 1
            if _passed[name] == int(count or 1) and _is_first_to_crash(name):
                os.kill(os.getpid(), signal.SIGKILL)


def _is_first_to_crash(name: str) -> bool:
    folder = os.environ.get(ONCE)
    if folder is None:
        return True
    try:
        (Path(folder) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
