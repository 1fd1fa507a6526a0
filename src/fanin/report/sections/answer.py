"""The answer to a study's question, in sentences generated from the numbers."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.analysis.analysis import Analysis
from fanin.report.escaping import escape_invisible
from fanin.report.study_conclusion import draw_conclusion
from fanin.report.tables import notes


@dataclass(frozen=True)
class Answer:
    """What stands on top of the page."""

    sentences: tuple[str, ...]
    details: tuple[tuple[str, str], ...] = ()
    """(section, sentence) of each section, if `sentences` only counts them."""


def write_answer(analysis: Analysis) -> Answer:
    """The conclusion; without results, what is missing."""
    if analysis.is_empty:
        return Answer((notes.describe_empty(analysis.frame),))
    conclusion = draw_conclusion(analysis)
    sentences = tuple(escape_invisible(line) for line in conclusion.lines)
    told = {str(section) for section in conclusion.sections}
    details = tuple(
        (escape_invisible(section.heading), escape_invisible(section.sentence))
        for section in conclusion.sections
    )
    return Answer(sentences, () if told <= set(conclusion.lines) else details)
