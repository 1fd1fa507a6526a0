"""When Python searches for objects that only a cycle of references keeps alive."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Let no search happen inside the block; also a decorator.

    For work that makes very many objects, all of which stay and few of which are in cycles, such as
    the results of a store. Python would look at each again and again while it makes more, which
    takes as long as the work itself. Everything that is not in a cycle is freed as always.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
