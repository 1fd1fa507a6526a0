"""Progress in a notebook: one text below the cell of code, which is replaced as the run goes on."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from typing import Any

UPDATE_EVERY = 0.5
"""The least seconds between two updates."""


def is_in_notebook() -> bool:
    """Whether this process runs the code of a Jupyter notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookText:
    """A text in the output of a notebook's cell."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from IPython.display import display

        self._clock = clock
        self._updated = clock()
        self._handle: Any = display(_make_bundle(""), raw=True, display_id=True)

    def show(self, text: str, *, now: bool = False) -> None:
        """Replace the text, unless that was done just before; always if `now`."""
        if now or self._clock() - self._updated >= UPDATE_EVERY:
            self._updated = self._clock()
            self._handle.update(_make_bundle(text), raw=True)


def _make_bundle(text: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
