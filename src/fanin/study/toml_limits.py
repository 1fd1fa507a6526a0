"""Texts that cost a TOML reader too much: found before it reads them, each with its line.

A key of 20,000 dots takes gigabytes, brackets nested 5,000 deep end the reader's recursion, and
Python refuses to read an integer of 5,000 digits.
"""

from __future__ import annotations

import re

MAX_DEPTH = 50
MAX_DOTS = 20
MAX_DIGITS = 1000

_TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_KEY = re.compile(r"(?:[\w\"'-]+[ \t]*\.[ \t]*){" + f"{MAX_DOTS + 1},}}")
_DIGITS = re.compile(r"\w{" + f"{MAX_DIGITS + 1},}}")


def find_excess(text: str) -> str:
    """What is too much for a study file, after ``, line 7``; empty for an ordinary text."""
    bare = _TEXT.sub(_blank, text)
    if found := _KEY.search(bare):
        return f"{_locate(bare, found.start())}: a key has more than {MAX_DOTS} dots"
    if found := _DIGITS.search(bare):
        return f"{_locate(bare, found.start())}: a number has more than {MAX_DIGITS:,} digits"
    depth = 0
    for found in re.finditer(r"[\[\]{}]", bare):
        depth = depth + 1 if found[0] in "[{" else max(depth - 1, 0)
        if depth > MAX_DEPTH:
            place = _locate(bare, found.start())
            return f"{place}: brackets are nested more than {MAX_DEPTH} deep"
    return ""


def _blank(found: re.Match[str]) -> str:
    """A string or comment without its characters, as long and with the same lines."""
    return "\n".join("'" * len(line) for line in found[0].split("\n"))


def _locate(text: str, position: int) -> str:
    return f", line {text.count(chr(10), 0, position) + 1}"
