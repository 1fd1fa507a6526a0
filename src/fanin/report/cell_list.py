"""The page's list of every cell: rows of HTML, as many as keep the page at a size that opens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup, escape

from fanin.analysis.factors import format_value
from fanin.report.escaping import escape_invisible

MAX_LENGTH = 7_000_000
"""Characters of all rows."""

_MESSAGE = 2000


class CellList(NamedTuple):
    """The rows of the list."""

    rows: Markup
    shown: int
    """How many there are."""


def list_cells(frame: pd.DataFrame, factors: Iterable[str]) -> CellList:
    """The first cells of a frame: their factors, replicate, outcome, message, seconds and id."""
    rows: list[str] = []
    length = 0
    for row in _write_rows(frame, factors):
        length += len(row)
        if length > MAX_LENGTH:
            break
        rows.append(row)
    return CellList(Markup("".join(rows)), len(rows))


def _write_rows(frame: pd.DataFrame, factors: Iterable[str]) -> Iterator[str]:
    write_value = _remember(
        lambda value: f'<td class="words">{escape(escape_invisible(format_value(value)))}</td>'
    )
    write_message = _remember(_write_message)
    names = ("replicate", "outcome", "message", "seconds", "cell")
    facts = zip(*(frame[name].tolist() for name in names), strict=True)
    values = (map(write_value, frame[name].tolist()) for name in factors)
    for cells, (replicate, outcome, message, seconds, cell) in zip(
        zip(*values, strict=True), facts, strict=True
    ):
        time = f"{seconds:.1f}" if seconds == seconds else "—"
        yield (
            f'<tr>{"".join(cells)}<td class="number">{replicate}</td>'
            f'<td class="words"><span class="badge {outcome}">{outcome}</span>'
            f"{write_message(message) if message else ''}</td>"
            f'<td class="number">{time}</td><td class="words"><code>{cell}</code></td></tr>\n'
        )


def _remember(write: Callable[[Any], str]) -> Callable[[Any], str]:
    """The function, called once for equal values of one type: most cells share theirs."""
    known: dict[tuple[type, Any], str] = {}

    def write_or_take(value: Any) -> str:
        key = type(value), value
        if key not in known:
            known[key] = write(value)
        return known[key]

    return write_or_take


def _write_message(text: str) -> str:
    """An error's text, cut to a length that fits a page."""
    shown = "\n".join(escape_invisible(line) for line in str(text).splitlines())
    cut = shown if len(shown) <= _MESSAGE else shown[: _MESSAGE - 1] + "…"
    return f'<pre class="message">{escape(cut)}</pre>'
