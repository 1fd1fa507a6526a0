"""Tables on a terminal, or as plain text without one."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console
from rich.text import Text

from fanin.report.escaping import make_encodable
from fanin.report.tables.table import Table
from fanin.screen import count_columns

_STYLES = {"titles": "bold", "heading": "bold cyan", "row": "", "blank": ""}


def print_table(table: Table, file: TextIO | None = None) -> None:
    """Print a table: in colour on a terminal (unless NO_COLOR is set), else as plain text of
    80 columns, or as many as COLUMNS says.

    Characters that the output's encoding lacks are replaced.
    """
    out = file if file is not None else sys.stdout
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    width = max(console.width, 40) if console.is_terminal else count_columns()
    for line in table.lines(width):
        text = make_encodable(line.text, getattr(out, "encoding", None) or "utf-8")
        if console.is_terminal:
            console.print(Text(text, style=_STYLES[line.kind]), soft_wrap=True)
        else:
            print(text, file=out)
