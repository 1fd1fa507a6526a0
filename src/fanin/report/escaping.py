"""Escaping of users' text (names, labels, messages) by output format. Templates escape HTML."""

from __future__ import annotations

from fanin.screen import escape_invisible as escape_invisible
from fanin.screen import escape_lines as escape_lines
from fanin.screen import make_encodable as make_encodable

_MARKDOWN = set("\\`*[]<>#|~$!&")
_FORMULA = tuple("=+-@＝＋－＠")


def escape_markdown(text: object) -> str:
    """Text for a cell of a Markdown table: no markup, no HTML, no end of the cell."""
    shown = escape_invisible(text)
    return "".join(
        f"\\{c}" if c in _MARKDOWN or (c == "_" and not _is_within_word(shown, i)) else c
        for i, c in enumerate(shown)
    )


def escape_csv(value: object) -> str | int | float:
    """A value for a CSV cell. Text that a spreadsheet would run as a formula gets an apostrophe."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "" if value != value else value
    text = escape_invisible("" if value is None else value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_within_word(text: str, index: int) -> bool:
    return text[index - 1 : index].isalnum() and text[index + 1 : index + 2].isalnum()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
