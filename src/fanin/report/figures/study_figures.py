"""The figures of a study, chosen by the factors that it varies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from matplotlib.figure import Figure

from fanin import atomic
from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design, is_numeric
from fanin.analysis.summary import find_main_metric
from fanin.report.figures.cell_axis import MAX_VALUES
from fanin.report.figures.dot_plot import draw_dot_plot
from fanin.report.figures.heat_map import Curve, draw_heat_map
from fanin.report.figures.rank_diagram import draw_rank_diagram
from fanin.report.figures.rendering import draw_once, render
from fanin.report.figures.response_curves import draw_response_curves
from fanin.report.figures.signal_figure import draw_signal_figures
from fanin.report.figures.theory_curves import compute_depth_scales

MIN_NUMBERS = 3
"""Values from which a numeric factor is an axis; fewer are categories."""

_MAX_PANELS = 12
"""Panels up to which a heat map of two numeric factors is followed by response curves."""

Overlays = Sequence[Curve] | Mapping[str, Sequence[Curve]]
"""Curves for every panel, or panel title → curves."""


class StudyFigure(NamedTuple):
    """One figure of a study."""

    title: str
    image: bytes


class FigureChoice(NamedTuple):
    """What one figure is to show."""

    kind: Literal["dots", "heat", "response"]
    x: str
    """The factor on the horizontal axis; of dots, the one that is compared."""
    y: str = ""
    """The other factor of a heat map."""
    lines: str | None = None
    """The factor whose values are the lines of response curves; by default the compared one."""
    overlays: Overlays = ()


@draw_once
def draw_study_figures(
    analysis: Analysis,
    *,
    kind: str = "png",
    overlays: Overlays | None = None,
) -> list[StudyFigure]:
    """Draw the figures that fit a study's factors.

    - Two numeric factors: a heat map over them. If that has few panels, also response curves over
      the first of them.
    - One numeric factor: response curves, a line for each value of what is compared.
    - No numeric factor: a dot plot. If a further factor varies, also a heat map of it and what is
      compared.

    None of these if nothing varies, or no cell has trained to its end. Then comes the diagram of
    average ranks, if three sections or more compare the same values, and last the figures of
    signals, one for each section whose cells measured them.

    Args:
        analysis: what to draw.
        kind: png, pdf or svg.
        overlays: curves for the heat map of two numeric factors
            (`fanin.report.figures.heat_map.draw_heat_map`); by default those of
            `fanin.report.figures.theory_curves`.
    """
    if analysis.is_empty:
        return []
    has_trained = find_main_metric(analysis.frame) is not None
    choices = choose_figures(analysis, overlays) if has_trained else []
    figures = [_draw(analysis, choice) for choice in choices]
    if (ranks := draw_rank_diagram(analysis)) is not None:
        figures.append(ranks)
    figures += draw_signal_figures(analysis)
    return [StudyFigure(_read_title(figure), render(figure, kind)) for figure in figures]


def write_figures(figures: Sequence[StudyFigure], folder: Path, kind: str = "png") -> list[Path]:
    """Write ``figure-1-test-accuracy-by-depth.png`` and so on; returns their paths."""
    return [
        atomic.write(
            folder / f"figure-{number}-{_make_slug(figure.title)}.{kind}",
            figure.image,
            create_parent=True,
        )
        for number, figure in enumerate(figures, 1)
    ]


def list_numeric_factors(analysis: Analysis) -> list[str]:
    """The factors that make a numeric axis, most values first; options of the model come last."""
    frame, design = analysis.frame, analysis.design
    factors = [
        name
        for name in _list_varying(design)
        if is_numeric(frame, name) and frame[name].nunique() >= MIN_NUMBERS
    ]
    return sorted(factors, key=lambda name: (name.startswith("model."), -frame[name].nunique()))


def _list_varying(design: Design) -> list[str]:
    """The factors that vary, without a learning rate that was tuned."""
    return [name for name in design.varying if name in (*design.section, design.compared)]


def choose_figures(analysis: Analysis, overlays: Overlays | None = None) -> list[FigureChoice]:
    """Which figures fit a study's factors, and of what: see `draw_study_figures`."""
    numbers = list_numeric_factors(analysis)
    if not _list_varying(analysis.design):
        return []
    if len(numbers) >= 2:
        return _choose_two_numeric(analysis, numbers[0], numbers[1], overlays)
    if numbers:
        return [FigureChoice("response", numbers[0])]
    return _choose_categories(analysis)


def _choose_two_numeric(
    analysis: Analysis, x: str, y: str, overlays: Overlays | None
) -> list[FigureChoice]:
    frame, design = analysis.frame, analysis.design
    if overlays is None:
        overlays = compute_depth_scales(analysis.plan, x, y)
    chosen = [FigureChoice("heat", x, y, overlays=overlays)]
    lines = y if design.compared == x else design.compared
    rest = [name for name in _list_varying(design) if name not in (x, lines)]
    panels = len(frame[rest].drop_duplicates()) if rest else 1
    if panels <= _MAX_PANELS:
        chosen.append(FigureChoice("response", x, lines=lines))
    return chosen


def _choose_categories(analysis: Analysis) -> list[FigureChoice]:
    frame, design = analysis.frame, analysis.design
    chosen = [FigureChoice("dots", design.compared)]
    others = [
        name
        for name in design.further
        if frame[name].nunique() <= MAX_VALUES and _varies_everywhere(analysis, name)
    ]
    if others and design.compared in _list_varying(design):
        largest = max(others, key=lambda name: frame[name].nunique())
        chosen.append(FigureChoice("heat", design.compared, largest))
    return chosen


def _draw(analysis: Analysis, choice: FigureChoice) -> Figure:
    if choice.kind == "heat":
        return draw_heat_map(analysis, choice.x, choice.y, overlays=choice.overlays)
    if choice.kind == "response":
        return draw_response_curves(analysis, choice.x, lines=choice.lines)
    return draw_dot_plot(analysis)


def _varies_everywhere(analysis: Analysis, name: str) -> bool:
    """Whether a factor has several values in every section that all other factors make.

    A heat map of a factor that does not would have empty rows.
    """
    frame = analysis.frame
    rest = [other for other in analysis.design.section if other != name]
    groups = frame.groupby(rest, sort=False, dropna=False)[name] if rest else None
    return frame[name].nunique() > 1 if groups is None else bool(groups.nunique().min() > 1)


def _read_title(figure: Figure) -> str:
    # Every figure writes its title before any other text.
    return figure.texts[0].get_text()


def _make_slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "figure"
