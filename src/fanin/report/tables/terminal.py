"""Tables on a terminal, or as plain text without one."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from fanin.report.escaping import make_encodable
from fanin.report.tables.table import Table
from fanin.screen import count_columns

_STYLES = {"titles": "bold", "heading": "bold cyan", "answer": "bold", "row": "", "blank": ""}


def print_table(table: Table, file: TextIO | None = None) -> None:
    """Print a table: in colour on a terminal (unless NO_COLOR is set), else as plain text of
    80 columns, or as many as COLUMNS says.

    Characters that the output's encoding lacks are replaced.
    """
    out = file if file is not None else sys.stdout
    if _may_be_terminal(out) and _print_in_colour(table, out):
        return
    for line in table.lines(count_columns()):
        print(_fit_encoding(line.text, out), file=out)


def _may_be_terminal(out: TextIO) -> bool:
    """Whether Rich, which takes long to import, may say that it is a terminal."""
    return out.isatty() or any(name in os.environ for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))


def _print_in_colour(table: Table, out: TextIO) -> bool:
    """Print a table if `out` is a terminal; returns whether it is."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        return False
    for line in table.lines(max(console.width, 40)):
        text = _fit_encoding(line.text, out)
        console.print(Text(text, style=_STYLES[line.kind]), soft_wrap=True)
    return True


def _fit_encoding(text: str, out: TextIO) -> str:
    return make_encodable(text, getattr(out, "encoding", None) or "utf-8")
