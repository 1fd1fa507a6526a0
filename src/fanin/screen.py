"""The width of the output: that of the terminal, or what COLUMNS says."""

from __future__ import annotations

import os
import sys

USUAL, LEAST = 80, 40
"""Columns of an output that is no terminal, and those that are used at least."""


def count_columns() -> int:
    """The columns of standard output.

    The environment variable COLUMNS if it is set, else the terminal's width, else 80.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return max(min(int(given), 10_000), LEAST)
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    except (OSError, ValueError, AttributeError):  # no stream, a closed one, or one in memory
        columns = 0
    return max(columns, LEAST) if columns else USUAL
