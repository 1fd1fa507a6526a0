"""Lines of text whose parts may have a colour, and how they are printed."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from fanin.screen import escape_invisible, make_encodable

WIDTH = 80

_COLOURS = {
    "error": "bold red",
    "warning": "bold yellow",
    "note": "bold cyan",
    "good": "bold green",
    "strong": "bold",
    "quiet": "dim",
    "": "",
}


@dataclass(frozen=True)
class StyledLine:
    """One line: texts and their styles, which are keys of `_COLOURS`."""

    parts: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The line without colours."""
        return "".join(text for text, _ in self.parts).rstrip()


def make_line(*parts: str | tuple[str, str]) -> StyledLine:
    """A line of plain texts and of (text, style)."""
    pairs = (part if isinstance(part, tuple) else (part, "") for part in parts)
    return StyledLine(tuple((escape_invisible(text), style) for text, style in pairs))


def wrap_lines(
    text: str, *, indent: str = "", first: str = "", style: str = ""
) -> list[StyledLine]:
    """A paragraph in lines of at most `WIDTH` columns, the first one after `first`."""
    shown = escape_invisible(text)
    lines = textwrap.wrap(
        shown,
        WIDTH,
        initial_indent=first or indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return [make_line((line, style)) for line in lines]


def join_lines(lines: Iterable[StyledLine]) -> str:
    """Plain text of several lines."""
    return "\n".join(line.text for line in lines)


def print_styled(lines: Iterable[StyledLine], file: TextIO | None = None) -> None:
    """Print lines: in colour on a terminal unless NO_COLOR is set, else as plain text.

    Characters that the output's encoding lacks are replaced.
    """
    out = file if file is not None else sys.stdout
    encoding = getattr(out, "encoding", None) or "utf-8"
    listed = list(lines)
    if _may_be_terminal(out) and _print_in_colour(listed, out, encoding):
        return
    for line in listed:
        print(make_encodable(line.text, encoding), file=out)


def _may_be_terminal(out: TextIO) -> bool:
    """Whether Rich, which takes long to import, may say that it is a terminal."""
    return out.isatty() or any(name in os.environ for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))


def _print_in_colour(lines: Iterable[StyledLine], out: TextIO, encoding: str) -> bool:
    """Print lines if `out` is a terminal; returns whether it is."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        return False
    for line in lines:
        pairs = ((make_encodable(text, encoding), _COLOURS[style]) for text, style in line.parts)
        console.print(Text.assemble(*pairs), soft_wrap=True)
    return True


_NUMBER = re.compile(r"(?<![^.])\d+(?=\.|$)")


def fold_names(names: Iterable[str], most: int = 6) -> str:
    """Names in one line; those that differ in numbers only are one, with their count."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_NUMBER.sub("*", name), []).append(name)
    shown = list(_show_groups(alike))
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")


def _show_groups(alike: dict[str, list[str]]) -> Iterator[str]:
    for general, same in alike.items():
        if len(same) == 1:
            yield escape_invisible(same[0] or "the whole model")
        elif set(general) <= set("*."):  # nothing but numbers: of a Sequential
            first, *_, last = sorted(same, key=lambda name: [*map(int, name.split("."))])
            yield f"{first} … {last} ({len(same)}×)"
        else:
            yield f"{escape_invisible(general)} ({len(same)}×)"
