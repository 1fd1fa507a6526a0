"""Chapters: what a built-in study's page says beyond its numbers, such as derivations and errata.

A built-in study has chapters if there is a folder of its name in `templates/chapters`. Each file is
a chapter, in the order of the names; it may show formulas and numbers of the results, and sets
`title`. A study of the same name that asks another question is another study, and has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jinja2
from markupsafe import Markup

from fanin.analysis import published
from fanin.analysis.analysis import Analysis
from fanin.analysis.published import Summary as PublishedSummary
from fanin.analysis.published import summarise as count_misses
from fanin.report.escaping import escape_invisible
from fanin.report.formula import render_formula
from fanin.report.sections.impact_rows import ImpactRow, list_impact
from fanin.study.builtin_studies import list_builtin_studies, read_question

_FOLDER = "chapters"


@dataclass(frozen=True)
class Chapter:
    """One chapter, rendered."""

    id: str
    title: str
    body: Markup


@dataclass(frozen=True)
class ChapterNumbers:
    """What chapters may show of the results."""

    analysis: Analysis
    runs: Mapping[published.Key, published.Comparison]
    """The published runs beside ours; empty for any study but the published one."""
    answer: tuple[str, ...]
    """The sentences on top of the page."""

    @cached_property
    def impact(self) -> dict[str, list[ImpactRow]]:
        """Compared value → its measured impact."""
        return list_impact(self.analysis)

    @cached_property
    def agreement(self) -> PublishedSummary | None:
        """How many published runs lie where ours would; None if that cannot be told."""
        if not any(c.interval for c in self.runs.values()):
            return None
        return count_misses([*self.runs.values()])

    @cached_property
    def zeros(self) -> tuple[int, int]:
        """How many zero cells equal the published ones, and how many there are."""
        zeros = [c for c in self.runs.values() if c.key[2] == published.ZERO]
        return sum(bool(c.agrees) for c in zeros), len(zeros)

    @cached_property
    def misses(self) -> list[str]:
        """The published runs outside their interval."""
        return [
            escape_invisible(" · ".join(c.key))
            for c in self.runs.values()
            if c.interval and not c.agrees
        ]


def render_chapters(numbers: ChapterNumbers, environment: jinja2.Environment) -> list[Chapter]:
    """The chapters of the study; an empty list if it has none."""
    plan = numbers.analysis.plan
    if plan.study not in list_builtin_studies() or read_question(plan.study) != plan.question:
        return []
    folder = f"{_FOLDER}/{plan.study}/"
    names = sorted(name for name in environment.list_templates() if name.startswith(folder))
    environment.filters["formula"] = lambda text: Markup(render_formula(text))
    environment.filters["formula_block"] = lambda text: Markup(render_formula(text, block=True))
    chapters = []
    for name in names:
        module = environment.get_template(name).make_module({"numbers": numbers})
        title = str(module.title)  # type: ignore[attr-defined]
        slug = name.removeprefix(folder).partition(".")[0].partition("-")[2]
        chapters.append(Chapter(slug, title, Markup(str(module))))
    return chapters
