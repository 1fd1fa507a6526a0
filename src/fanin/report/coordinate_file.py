"""draw_coordinates: the figure of a coordinate check, as a file."""

from __future__ import annotations

from pathlib import Path

from fanin import atomic
from fanin.diagnosis import CoordinateCheck
from fanin.errors import MissingExtra, UsageError, quote


def draw_coordinates(check: CoordinateCheck, path: str | Path) -> Path:
    """Draw a coordinate check as PNG, PDF or SVG, by the suffix of the path, and return the path.

    Sizes before and after training, and changes, of each layer's output over the width. A line that
    rises or falls on these logarithmic axes is a power of the width.

    Raises:
        UsageError: not a coordinate check.
        OutputError: another suffix, or a file that cannot be written.
        MissingExtra: without matplotlib.
    """
    if not isinstance(check, CoordinateCheck):
        raise UsageError(
            f"draw_coordinates takes what fanin.coordinate_check returns, not {quote(check)}."
        )
    try:
        from fanin.report.figures.coordinate_figure import draw_coordinate_figure
        from fanin.report.figures.rendering import parse_format, render
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "matplotlib", "study", "A figure") from None
    kind = parse_format(path)
    return atomic.write(Path(path), render(draw_coordinate_figure(check), kind), create_parent=True)
