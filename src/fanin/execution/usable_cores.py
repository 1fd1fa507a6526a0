"""How many cores this process may use: the machine's, or fewer by affinity or a container's quota.

A container with a CPU quota sees all cores of its host. The kernel stops its processes for the rest
of each period once they have used up the quota, so that more workers than the quota are no faster.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def count_usable_cores(system: Path = Path("/")) -> int:
    """The number of cores that this process may use, at least 1.

    Args:
        system: the folder that holds ``proc`` and ``sys``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = read_cpu_quota(system)
    usable = cores or 1
    return usable if quota is None else max(1, min(usable, math.ceil(quota)))


def read_cpu_quota(system: Path = Path("/")) -> float | None:
    """The cores that the control groups of this process may use at once; None without a limit.

    A group is limited by every group that it lies in. Of a group that is not visible here, as of
    the host's groups in a container, the visible ones above it are read.
    """
    limits: list[float] = []
    for folder in _list_group_folders(system):
        for current in (folder, *folder.parents):
            limits += [quota for quota in (_read_quota(current),) if quota is not None]
            if current.name == "cgroup":
                break
    return min(limits, default=None)


def _list_group_folders(system: Path) -> Iterator[Path]:
    """Where the groups of this process that limit CPU time may be, in versions 2 and 1."""
    mount = system / "sys/fs/cgroup"
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        inside = PurePosixPath(path).relative_to("/") if path.startswith("/") else "."
        if not controllers:
            yield mount / inside
        elif "cpu" in controllers.split(","):
            yield mount / "cpu" / inside
            yield mount / controllers / inside


def _read_quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip()
                for name in ("quota", "period")
            )
        cores = int(quota) / int(period)  # "max" and -1 are no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None
