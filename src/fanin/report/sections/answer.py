"""The answer to a study's question, in sentences, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.analysis.analysis import Analysis
from fanin.report.escaping import escape_invisible
from fanin.report.tables import notes


@dataclass(frozen=True)
class Answer:
    """What stands on top of the page."""

    sentences: tuple[str, ...]


def write_answer(analysis: Analysis) -> Answer:
    """The conclusion; without results, what is missing."""
    if analysis.is_empty:
        return Answer((notes.describe_empty(analysis.frame),))
    return Answer(tuple(map(escape_invisible, notes.write_notes(analysis)[:2])))
