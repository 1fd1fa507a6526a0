"""TOML text that a user wrote: decoded, parsed, and its mistakes in words."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from fanin.errors import UsageError

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z_][\w.-]*|\"[^\"]+\"|'[^']+')\s*=")


def decode_toml(content: bytes) -> str:
    """The text of a TOML file, without the byte order mark that editors on Windows write.

    Raises `UnicodeDecodeError` if it is not UTF-8.
    """
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises `UsageError`, whose text names the line of the mistake."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{_find_repetition(text) or error}.") from None


def _find_repetition(text: str) -> str:
    """Which key or table is written twice, and where; empty if none is.

    For a text that TOML refuses: of a valid one, lines of a long string could look like keys.
    """
    seen: dict[tuple[int, str], int] = {}
    table = 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table, name, what = number, header[2], f"the table [{header[2]}]"
            if header[1] == "[[":
                continue
            place = (0, f"[{name}]")
        elif start := _KEY.match(line):
            name = start[1].strip("\"'")
            place, what = (table, name), f"the key {name}"
        else:
            continue
        if place in seen:
            return (
                f"{what} is written twice, on line {seen[place]} and on line {number}; remove one"
            )
        seen[place] = number
    return ""
