"""All that the page shows of one study, ready for its template."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import jinja2

from fanin.analysis.analysis import Analysis
from fanin.analysis.cell_table import OUTCOMES
from fanin.report.escaping import escape_invisible
from fanin.report.sections import provenance
from fanin.report.sections.answer import Answer, write_answer
from fanin.report.sections.cell_columns import list_cell_columns
from fanin.report.sections.chapters import Chapter, ChapterNumbers, render_chapters
from fanin.report.sections.condition_figures import make_condition_figures
from fanin.report.sections.curve_figure import make_curve_figure
from fanin.report.sections.difference_figure import make_difference_figure
from fanin.report.sections.page_figure import PageFigure
from fanin.report.sections.published_columns import NOTES as PUBLISHED_NOTES
from fanin.report.sections.published_columns import compare_published, make_published_columns
from fanin.report.sections.rank_figure import make_rank_figure
from fanin.report.sections.result_rows import ResultRows, arrange_rows
from fanin.report.sections.signal_figures import make_signal_figures
from fanin.report.sections.tuning_figure import make_tuning_figure
from fanin.report.tables.difference_table import make_difference_table
from fanin.report.tables.impact_table import make_impact_table
from fanin.report.tables.table import Table


@dataclass(frozen=True)
class NumberedFigure:
    """A figure, its number on the page, and the id of its element."""

    number: int
    id: str
    figure: PageFigure


@dataclass(frozen=True)
class StudyPart:
    """One study on the page."""

    prefix: str
    """What the ids of its elements begin with."""
    store: str
    """What its store is called; empty if it is the only one."""
    name: str
    question: str
    protocols: list[tuple[str, str]]
    flaws: list[str]
    counts: list[tuple[str, int]]
    planned: int
    answer: Answer
    table: Table
    rows: ResultRows
    differences: ResultRows
    difference_table: Table
    difference_figures: list[NumberedFigure]
    ranks: list[NumberedFigure]
    curves: list[NumberedFigure]
    figures: list[NumberedFigure]
    signals: list[NumberedFigure]
    impact_table: Table
    """Of conditions whose signals were measured; without rows if none were."""
    impact: ResultRows
    chapters: list[Chapter]
    cells: dict[str, Any]
    environments: list[dict[str, Any]]
    data: list[dict[str, Any]]
    hours: float
    command: str
    unfinished: int
    study_toml: str


class FigureCounter:
    """Numbers the figures of a page in the order in which they stand there."""

    def __init__(self) -> None:
        self.found: list[NumberedFigure] = []

    def add(self, figure: PageFigure | None) -> list[NumberedFigure]:
        """The figure with its number, as a list that is empty if there is no figure."""
        if figure is None:
            return []
        number = len(self.found) + 1
        self.found.append(NumberedFigure(number, f"figure-{number}", figure))
        return [self.found[-1]]


def make_study_part(
    analysis: Analysis,
    table: Table,
    counter: FigureCounter,
    environment: jinja2.Environment,
    *,
    command: str,
    prefix: str = "",
    store: str = "",
) -> StudyPart:
    """Compute all that the page shows of one study.

    Args:
        analysis: of the study.
        table: the study's table.
        counter: numbers the page's figures.
        environment: renders the study's chapters.
        command: that continues the study.
        prefix: what the ids of its elements begin with.
        store: what its store is called, if the page shows several.
    """
    plan, frame, design = analysis.plan, analysis.frame, analysis.design
    factors = [*design.headings, design.compared, *(["learning_rate"] if design.tuned else [])]
    counts = Counter(frame["outcome"])
    difference_table = make_difference_table(analysis)
    difference_figures = counter.add(make_difference_figure(analysis))
    ranks = counter.add(make_rank_figure(analysis))
    figures = [one for made in make_condition_figures(analysis) for one in counter.add(made)]
    figures += counter.add(make_tuning_figure(analysis))
    curves = counter.add(make_curve_figure(analysis))
    signals = [one for made in make_signal_figures(analysis) for one in counter.add(made)]
    impact_table = make_impact_table(analysis)
    impact_table = impact_table if signals else replace(impact_table, rows=())
    answer = write_answer(analysis)
    published = compare_published(analysis)
    added = make_published_columns(table, published)
    if added:
        table = replace(table, notes=(*table.notes, *PUBLISHED_NOTES))
    numbers = ChapterNumbers(analysis, published, answer.sentences)
    return StudyPart(
        prefix=prefix,
        store=escape_invisible(store),
        name=escape_invisible(plan.study),
        question=escape_invisible(plan.question),
        protocols=provenance.list_protocols(plan),
        flaws=provenance.list_flaws(plan),
        counts=[(name, counts[name]) for name in OUTCOMES if counts[name]],
        planned=len(frame),
        answer=answer,
        table=table,
        rows=arrange_rows(table, added),
        differences=arrange_rows(difference_table),
        difference_table=difference_table,
        difference_figures=difference_figures,
        ranks=ranks,
        curves=curves,
        figures=figures,
        signals=signals,
        impact_table=impact_table,
        impact=arrange_rows(impact_table),
        chapters=render_chapters(numbers, environment),
        cells=list_cell_columns(frame, [(name, design.format_title(name)) for name in factors]),
        environments=provenance.count_environments(analysis.planned_results),
        data=provenance.list_data_sets(analysis.planned_results),
        hours=provenance.sum_seconds(analysis.planned_results) / 3600,
        command=escape_invisible(command),
        unfinished=len(frame) - counts["ok"] - counts["diverged"],
        study_toml=plan.study_toml,
    )
