"""Escaping of users' text (names, labels, messages) by output format. Templates escape HTML."""

from __future__ import annotations

import unicodedata

# Control characters (with escape sequences), invisible format characters (such as marks of text
# direction), surrogates, line and paragraph separators, private and unassigned characters.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}

_MARKDOWN = set("\\`*[]<>#|~$!&")
_FORMULA = tuple("=+-@＝＋－＠")

_ASCII = str.maketrans(
    {
        "±": "+/-",
        "—": "-",
        "–": "-",
        "·": "|",
        "×": "x",
        "−": "-",
        "…": "...",
        "σ": "sigma",
        "≤": "<=",
    }
)


def escape_invisible(text: object) -> str:
    """One line of text, with control and invisible characters as escape sequences (``\\x1b``)."""
    line = str(text)
    if line.isprintable():  # nearly always; then no character is of those categories
        return line
    return "".join(
        _to_escape_sequence(c) if unicodedata.category(c) in _INVISIBLE else c for c in line
    )


def make_encodable(text: str, encoding: str) -> str:
    """The text with only the characters that the encoding has."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def escape_lines(text: object) -> str:
    """Text of several lines, each with control and invisible characters as escape sequences."""
    return "\n".join(escape_invisible(line) for line in str(text).split("\n"))


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


def _to_escape_sequence(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _is_within_word(text: str, index: int) -> bool:
    return text[index - 1 : index].isalnum() and text[index + 1 : index + 2].isalnum()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
