"""The output: how wide it is, and text that it can show."""

from __future__ import annotations

import os
import sys
import unicodedata

USUAL, LEAST = 80, 40
"""Columns of an output that is no terminal, and those that are used at least."""

# Control characters (with escape sequences), invisible format characters (such as marks of text
# direction), surrogates, line and paragraph separators, private and unassigned characters.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}

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
        "→": "->",
        **dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True)),
    }
)


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


def escape_invisible(text: object) -> str:
    """One line of text, with control and invisible characters as escape sequences (``\\x1b``)."""
    line = str(text)
    if line.isprintable():  # nearly always; then no character is of those categories
        return line
    return "".join(
        _to_escape_sequence(c) if unicodedata.category(c) in _INVISIBLE else c for c in line
    )


def escape_lines(text: object) -> str:
    """Text of several lines, each with control and invisible characters as escape sequences."""
    return "\n".join(escape_invisible(line) for line in str(text).split("\n"))


def make_encodable(text: str, encoding: str) -> str:
    """The text with only the characters that the encoding has."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def _to_escape_sequence(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
