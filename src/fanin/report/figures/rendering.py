"""Drawing: what all figures share. Text that fits its room, a sheet with words only, and a figure's
bytes.

matplotlib's object interface throughout: no pyplot, no global settings, no display. Names are never
read as mathematics.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from rich.cells import cell_len

from fanin.errors import MissingExtra, OutputError

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    raise MissingExtra("matplotlib", "study", "A figure") from None

from fanin.report.escaping import escape_invisible
from fanin.report.figures.curve_panel import QUIET

_DPI = 130

_FORMATS = ("png", "pdf", "svg")


def sheet(text: str) -> Figure:
    figure = Figure(figsize=(6.4, 2.0))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=QUIET, parse_math=False)
    return figure


def fitted(text: str, inches: float, points: float) -> str:
    """The text, its middle cut out where it is longer than the room; both ends are kept, as specs
    often differ in the last.
    """
    shown = escape_invisible(text)
    room = max(int(inches * 72 / (points * (1.1 if cell_len(shown) > len(shown) else 0.62))), 8)
    return (
        shown if len(shown) <= room else f"{shown[: room // 2]}…{shown[-(room - room // 2 - 1) :]}"
    )


def metric_words(name: str) -> str:
    return "MAE" if name == "mae" else escape_invisible(name.replace("_", " "))


def format_of(path: str | Path) -> str:
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in _FORMATS:
        raise OutputError(
            f"A figure is written as {', '.join(_FORMATS)}, by the ending of its path; {path} has "
            "another."
        )
    return kind


def saved(figure: Figure, kind: str) -> bytes:
    """The figure's bytes, without the time at which they were made."""
    stamp = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # a name may use any script
        figure.savefig(content, format=kind, dpi=_DPI, metadata=stamp)
    return content.getvalue()
