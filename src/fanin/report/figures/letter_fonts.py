"""Fonts for letters that the usual font lacks: of all installed fonts, those that have them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from fanin.report.figures.palette import WARNING

USUAL = "DejaVu Sans"

_NOTE = "Boxes: letters that no installed font has: "

_LETTER_WIDTH = 0.052
"""About the width of a letter of the note, in inches."""


def use_fonts_for(figure: Figure, letters: Iterable[str]) -> None:
    """Let the texts that hold these letters use fonts that have them, and write below the figure
    which letters no installed font has.
    """
    found = {letter: _find_font(letter) for letter in dict.fromkeys(letters)}
    families = [USUAL, *dict.fromkeys(name for name in found.values() if name)]
    for text in figure.findobj(Text):
        if isinstance(text, Text) and set(text.get_text()) & found.keys():
            text.set_fontfamily(families)
    if lost := sorted(letter for letter, name in found.items() if not name):
        _write_note(figure, lost)


def _write_note(figure: Figure, lost: list[str]) -> None:
    """Write which letters are boxes, as many as fit into a line at the bottom of the figure."""
    room = int(figure.get_figwidth() / _LETTER_WIDTH) - len(f"{_NOTE} and 99 more")
    shown = lost[: max(room // len("U+65E5 "), 1)]
    more = f" and {len(lost) - len(shown)} more" if len(lost) > len(shown) else ""
    note = _NOTE + " ".join(f"U+{ord(letter):04X}" for letter in shown) + more
    figure.text(0.01, 0.004, note, fontsize=6, color=WARNING, va="bottom", parse_math=False)


@cache
def _find_font(letter: str) -> str:
    """The name of an installed font that can draw a letter; empty if there is none."""
    for entry in sorted(fontManager.ttflist, key=_rank):
        if "LastResort" in entry.fname:  # has a box for everything
            continue
        with contextlib.suppress(RuntimeError, OSError):
            font = FT2Font(entry.fname)
            if font.scalable and font.get_char_index(ord(letter)):
                return str(entry.name)
    return ""


def _rank(entry: object) -> tuple[bool, bool, str]:
    """Sans-serif fonts of usual weight come first; the order is the same on every call."""
    name, style = str(getattr(entry, "name", "")), str(getattr(entry, "style", ""))
    weight = getattr(entry, "weight", 400)
    return ("Sans" not in name, style != "normal" or weight not in (400, "normal"), name)
