"""Factorizations on one thread, so that their numbers do not depend on how many there are.

LAPACK divides a large matrix among its threads, and each division rounds differently: with two
threads the QR decomposition of a 33 × 70 matrix already differs in its last bits from that with
one. Sums and products entry by entry do not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()
"""The number of threads is the whole process' own: one block at a time may set it."""


class _Membership(threading.local):
    inside = False


_MEMBERSHIP = _Membership()


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Let torch's operations run on one thread inside; blocks in other threads wait for one
    another.
    """
    if _MEMBERSHIP.inside:
        yield
        return
    with _LOCK:
        before = torch.get_num_threads()
        _MEMBERSHIP.inside = True
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            _MEMBERSHIP.inside = False


def join_block() -> None:
    """Count this thread, new and short-lived, as inside the block of the thread that starts it: it
    runs one of several factorizations at a time, each on one thread.
    """
    _MEMBERSHIP.inside = True
