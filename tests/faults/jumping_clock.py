"""A wall clock that jumps by days, forward and back, for every process that imports this when
Python starts: as ``sitecustomize.py`` in a folder of PYTHONPATH (`install`).

The monotonic clock is left alone, as it is when somebody sets the time. Files that are put into
their place get the times of the jumping clock.
"""

import itertools
import os
import time
from pathlib import Path
from typing import Any

DAY = 86_400.0
PERIOD = 0.05
"""Seconds between two jumps."""


def install(folder: Path) -> None:
    """Make this module the `sitecustomize` of a folder."""
    (folder / "sitecustomize.py").write_text(Path(__file__).read_text() + "\njump()\n")


def jump() -> None:
    """Let the wall clock of this process jump from now on."""
    wall, replace, rename = time.time, os.replace, os.rename
    localtime, gmtime, strftime = time.localtime, time.gmtime, time.strftime
    calls = itertools.count()

    def now() -> float:
        # at each call, too, so that short measurements meet jumps
        step = int(time.monotonic() / PERIOD) + next(calls)
        days = step % 60
        return wall() + DAY * (days if days % 2 else -days)

    def move(how: Any) -> Any:
        def moved(source: Any, target: Any, **options: Any) -> None:
            how(source, target, **options)
            seconds = now()
            if not options:
                os.utime(target, (seconds, seconds))

        return moved

    clock: dict[str, Any] = vars(time)
    clock["time"], clock["time_ns"] = now, lambda: int(now() * 1e9)
    clock["localtime"] = lambda seconds=None: localtime(now() if seconds is None else seconds)
    clock["gmtime"] = lambda seconds=None: gmtime(now() if seconds is None else seconds)
    clock["strftime"] = lambda form, moment=None: strftime(form, moment or localtime(now()))
    vars(os)["replace"], vars(os)["rename"] = move(replace), move(rename)
