"""Limits of memory and CPU time: what of a failure they explain, in words."""

from __future__ import annotations

import errno
import math
import re
import signal
from pathlib import Path

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

_SIGNS = re.compile(
    "bad_alloc|cannot allocate memory|can't allocate memory|failed to map segment|not enough memory"
    "|out of memory|can't start new thread|cannot create thread|pthread_create failed",
    re.IGNORECASE,
)
"""How libraries say that there is no memory left; a thread needs memory for its stack."""


def explain_lack_of_memory(error: BaseException) -> str:
    """What to tell of an error that means that memory is short; empty if it means anything else."""
    text = str(error).strip()
    is_short = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if not is_short and not _SIGNS.search(text):
        return ""
    reason = f" ({text.splitlines()[0][:200]})" if text else ""
    limit = _read_limit("RLIMIT_AS")
    if limit is None:
        return f"Not enough memory{reason}. Free some, or use fewer workers or a smaller model."
    return (
        f"Not enough memory{reason}: this process may use {limit / 1e9:.1f} GB of address space "
        "(ulimit -v). fanin takes about 2 GB in each process. Raise the limit."
    )


def explain_signal(number: int, oom_kills: int | None, cpu_seconds: float) -> str:
    """Why a process may have been killed by a signal, for a message; empty if there is no reason
    to think so.

    Args:
        number: of the signal.
        oom_kills: processes that the kernel has killed for memory meanwhile; None if that is not
            known.
        cpu_seconds: CPU time of the process.
    """
    limit = _read_limit("RLIMIT_CPU")
    if number == getattr(signal, "SIGXCPU", None):
        return " (its limit of CPU time, ulimit -t)"
    if number != signal.SIGKILL:
        return ""
    if limit is not None and cpu_seconds > limit - 1:
        return f" (its limit of {limit:.0f} s of CPU time, ulimit -t)"
    return " (out of memory?)" if oom_kills is None or oom_kills > 0 else ""


def count_oom_kills() -> int | None:
    """How many processes this system has killed because memory was short; None if it does not
    tell.
    """
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def measure_children_seconds() -> float:
    """CPU time of all ended child processes."""
    if not hasattr(resource, "getrusage"):
        return math.nan
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _read_limit(name: str) -> float | None:
    if not hasattr(resource, name):
        return None
    soft, hard = resource.getrlimit(getattr(resource, name))
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    return float(min(limits)) if limits else None
