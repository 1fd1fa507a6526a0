"""Which figures fit a study: chosen by what it varies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from fanin import atomic
from fanin.analysis.analysis import Analysis
from fanin.analysis.design import is_numeric
from fanin.analysis.summary import find_main_metric
from fanin.report.figures import theory_curves
from fanin.report.figures.dot_plot import points
from fanin.report.figures.heat_map import MAX_VALUES, Curve, heat_map
from fanin.report.figures.rendering import saved
from fanin.report.figures.response_curves import response

MIN_NUMBERS = 3
"""Values from which a factor of numbers is an axis; fewer are categories."""

_MOST_PANELS = 12
"""Panels up to which a second figure is drawn beside a heat map of two numeric factors."""


Overlays = Sequence[Curve] | Mapping[str, Sequence[Curve]]
"""Curves for every panel, or for those of a title."""


class StudyFigure(NamedTuple):
    """One figure of a study."""

    title: str
    image: bytes


def study_figures(
    analysis: Analysis,
    *,
    kind: str = "png",
    overlays: Overlays | None = None,
) -> list[StudyFigure]:
    """The figures that fit a study's axes; none where nothing varies, or nothing has trained to its
    end.

    - Two numeric factors: a heat map over them, and where that makes few panels the response to the
      first of them.
    - One numeric factor: the response to it, a line for each value of what is compared.
    - None: points, and where a third factor varies a heat map of what is compared by it.

    Args:
        analysis: what to draw.
        kind: png, pdf or svg.
        overlays: curves for the heat map of two numeric factors
            (`fanin.report.figures.heat_map.heat_map`); by default what theory says of them
            (`fanin.report.figures.theory_curves`).
    """
    if analysis.is_empty or find_main_metric(analysis.frame) is None:
        return []

    def curves_over(x: str, y: str) -> Overlays:
        return theory_curves.depth_scales(analysis.plan, x, y) if overlays is None else overlays

    drawn = _draw_fitting(analysis, curves_over)
    return [StudyFigure(_title(figure), saved(figure, kind)) for figure in drawn]


def write_figures(figures: Sequence[StudyFigure], folder: Path, kind: str = "png") -> list[Path]:
    """Write figures as ``figure-1-test-accuracy-by-depth.png`` and so on; their paths."""
    return [
        atomic.write(
            folder / f"figure-{number}-{_slug(figure.title)}.{kind}",
            figure.image,
            create_parent=True,
        )
        for number, figure in enumerate(figures, 1)
    ]


def numeric_factors(analysis: Analysis) -> list[str]:
    """The factors that make a numeric axis, most values first; a depth or width of the model after
    all others.
    """
    frame, design = analysis.frame, analysis.design
    found = [
        name
        for name in design.varying
        if name in (*design.section, design.compared)
        and is_numeric(frame, name)
        and frame[name].nunique() >= MIN_NUMBERS
    ]
    return sorted(found, key=lambda name: (name.startswith("model."), -frame[name].nunique()))


def _draw_fitting(analysis: Analysis, curves_over: Callable[[str, str], Overlays]) -> list[Figure]:
    frame, design = analysis.frame, analysis.design
    conditions = [name for name in design.varying if name in (*design.section, design.compared)]
    numbers = numeric_factors(analysis)
    if not conditions:
        return []
    if len(numbers) >= 2:
        x, y = numbers[:2]
        figures = [heat_map(analysis, x, y, overlays=curves_over(x, y))]
        lines = y if design.compared == x else design.compared
        rest = [name for name in conditions if name not in (x, lines)]
        panels = len(frame[rest].drop_duplicates()) if rest else 1
        return figures + ([response(analysis, x, lines=lines)] if panels <= _MOST_PANELS else [])
    if numbers:
        return [response(analysis, numbers[0])]
    figures = [points(analysis)]
    others = [
        name
        for name in design.further
        if frame[name].nunique() <= MAX_VALUES and _varies_everywhere(analysis, name)
    ]
    if others and design.compared in conditions:
        figures.append(
            heat_map(analysis, design.compared, max(others, key=lambda n: frame[n].nunique()))
        )
    return figures


def _varies_everywhere(analysis: Analysis, name: str) -> bool:
    """Whether a factor has several values wherever all others but the compared one are equal: else
    a map has empty rows.
    """
    frame = analysis.frame
    rest = [other for other in analysis.design.section if other != name]
    groups = frame.groupby(rest, sort=False, dropna=False)[name] if rest else None
    return frame[name].nunique() > 1 if groups is None else bool(groups.nunique().min() > 1)


def _title(figure: Figure) -> str:
    return figure.texts[0].get_text()


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "figure"
