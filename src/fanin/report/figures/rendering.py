"""Rendering: a figure's bytes, text that fits its space, and a figure that holds only a message.

All figures use matplotlib's object interface: no pyplot, no global settings, no display. Names are
never read as mathematics.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Hashable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.cells import cell_len

from fanin.analysis.analysis import Analysis
from fanin.errors import OutputError
from fanin.report.escaping import escape_invisible
from fanin.report.figures.letter_fonts import use_fonts_for
from fanin.report.figures.palette import QUIET

P = ParamSpec("P")
R = TypeVar("R")

_DPI = 130

_MISSING = re.compile(r"Glyph (\d+) .* missing from")
"""What matplotlib warns of for a letter that a font lacks."""

_NO_TIME = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""File format → metadata that leaves out when the file was written."""

_LETTER, _WIDE_LETTER = 0.62, 1.1
"""Width of a letter as a share of the font size; the second if a text holds wide letters."""


def draw_once(draw: Callable[Concatenate[Analysis, P], R]) -> Callable[Concatenate[Analysis, P], R]:
    """Keep what a function draws of an analysis as long as the analysis lives.

    The page and the files beside it show the same figures, and drawing is most of the work.
    """
    kept: WeakKeyDictionary[Analysis, dict[Hashable, R]] = WeakKeyDictionary()

    @wraps(draw)
    def draw_or_take(analysis: Analysis, /, *arguments: P.args, **options: P.kwargs) -> R:
        if options.keys() - {"kind"}:  # what was asked for in particular is drawn for itself
            return draw(analysis, *arguments, **options)
        drawn = kept.setdefault(analysis, {})
        key = (arguments, tuple(options.items()))
        if key not in drawn:
            drawn[key] = draw(analysis, *arguments, **options)
        return drawn[key]

    return draw_or_take


def render(figure: Figure, kind: str) -> bytes:
    """The figure as PNG, PDF or SVG; the same bytes each time."""
    FigureCanvasAgg(figure)
    content, missing = _save(figure, kind)
    if missing:  # a name may use any script
        use_fonts_for(figure, missing)
        content, _ = _save(figure, kind)
    return content


def _save(figure: Figure, kind: str) -> tuple[bytes, list[str]]:
    """The figure's bytes, and the letters that its fonts lack."""
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=_MISSING.pattern)
        figure.savefig(content, format=kind, dpi=_DPI, metadata=_NO_TIME[kind])
    missing = []
    for warning in caught:
        if found := _MISSING.match(str(warning.message)):
            missing.append(chr(int(found[1])))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return content.getvalue(), missing


def parse_format(path: str | Path) -> str:
    """The file format that a path's suffix names. Raises `OutputError` for any other suffix."""
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in _NO_TIME:
        raise OutputError(
            f"Expected a path that ends in one of {', '.join(_NO_TIME)}, received {path}."
        )
    return kind


def draw_message(text: str) -> Figure:
    """A figure that holds one line of text."""
    figure = Figure(figsize=(6.4, 2.0))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=QUIET, parse_math=False)
    return figure


def fit_text(text: str, inches: float, points: float) -> str:
    """The text, shortened in the middle if it is longer than `inches` at a font size of `points`.

    Both ends are kept because specs often differ in the last characters.
    """
    line = escape_invisible(text)
    letter = _WIDE_LETTER if cell_len(line) > len(line) else _LETTER
    length = max(int(inches * 72 / (points * letter)), 8)
    if len(line) <= length:
        return line
    return f"{line[: length // 2]}…{line[-(length - length // 2 - 1) :]}"


def break_text(text: str, inches: float, points: float) -> str:
    """The text in two lines if it is too long for one: a unit in brackets below its title. Each
    line fits, see `fit_text`.
    """
    title, bracket, unit = text.partition(" (")
    if not bracket or fit_text(text, inches, points) == text:
        return fit_text(text, inches, points)
    return f"{fit_text(title, inches, points)}\n{fit_text(f'({unit}', inches, points)}"


def format_metric(name: str) -> str:
    """A metric's name in a history, in words."""
    return "MAE" if name == "mae" else escape_invisible(name.replace("_", " "))
