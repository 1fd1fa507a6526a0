"""Generated pages: how their text is wrapped, and how they are written or checked."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

WIDTH = 100

_UNWRAPPED = ("#", "|", "!", "```", "    ")
"""How blocks begin that stay as they are: headings, tables, images and code."""


def wrap(text: str) -> str:
    """The text with its paragraphs wrapped at 100 columns; blank lines separate paragraphs.

    In a list, each line is one item.
    """
    return "\n\n".join(map(_wrap_block, text.strip("\n").split("\n\n")))


def _wrap_block(block: str) -> str:
    if block.startswith(_UNWRAPPED):
        return block
    if block.startswith("- "):
        return "\n".join(wrap_item(line.removeprefix("- ")) for line in block.splitlines())
    return _fill(block)


def wrap_item(text: str) -> str:
    """One item of a list, wrapped at 100 columns."""
    return _fill(f"- {text}", subsequent_indent="  ")


def _fill(text: str, subsequent_indent: str = "") -> str:
    """One paragraph, wrapped; code between backticks is not broken unless it is long."""
    joined = re.sub(r"`[^`]{,80}`", lambda code: code[0].replace(" ", "\0"), " ".join(text.split()))
    lines = textwrap.wrap(
        joined,
        WIDTH,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def write_or_check(page: Path, text: str) -> int:
    """Write a page. With ``--check``, write nothing and return 1 if the page has another text."""
    if "--check" in sys.argv[1:]:
        return 0 if page.exists() and page.read_text(encoding="utf-8") == text else 1
    page.write_text(text, encoding="utf-8")
    return 0
