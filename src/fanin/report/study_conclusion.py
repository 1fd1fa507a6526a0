"""Conclusion: what a study's comparisons say, in sentences generated from the numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fanin.analysis.analysis import Analysis
from fanin.analysis.cell_table import OUTCOMES
from fanin.analysis.section_comparisons import SectionComparison
from fanin.analysis.tuning_contrasts import SectionContrast
from fanin.report.conclusion_words import count_conclusions, describe_ranks, describe_section
from fanin.report.tables.variance_table import describe_variance
from fanin.report.tuning_words import describe_tuning

SCHEMA = 1

MOST_SENTENCES = 4
"""More sections than so many are counted on top of a table instead of being told one by one."""


@dataclass(frozen=True)
class SectionConclusion:
    """What may be said of one section."""

    heading: str
    """Its name; empty if the study has one section."""
    sentence: str
    comparison: SectionComparison

    def __str__(self) -> str:
        return f"{self.heading}: {self.sentence}" if self.heading else self.sentence


@dataclass(frozen=True)
class Conclusion:
    """What may be said of a study: a sentence for each section, and one over all. ``str`` has all
    of them, a line each.
    """

    sections: tuple[SectionConclusion, ...]
    overall: str
    """Over the sections; empty if there is one, or nothing to say."""
    summary: str
    """Instead of the sections' sentences, if there are many."""
    variance: tuple[str, ...] = ()
    """What each seed adds to the spread between runs, if a study crosses its seeds."""
    tuning: tuple[str, ...] = ()
    """What tuned learning rates change, if a study was trained with a fixed rate too."""
    contrasts: tuple[SectionContrast, ...] = ()
    """The numbers of that."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What stands on top of a table: at most `MOST_SENTENCES` sections one by one."""
        told = map(str, self.sections) if len(self.sections) <= MOST_SENTENCES else (self.summary,)
        tuning = self.tuning if len(self.tuning) <= MOST_SENTENCES else ()
        lines = (*told, self.overall, *self.variance, *tuning)
        return tuple(line for line in lines if line)

    def __str__(self) -> str:
        lines = (*map(str, self.sections), self.overall, *self.variance, *self.tuning)
        return "\n".join(line for line in lines if line)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the sentences, and each difference with its numbers."""
        return {
            "schema": SCHEMA,
            "overall": self.overall,
            "summary": self.summary,
            "variance": list(self.variance),
            "sections": [
                {
                    "heading": item.heading,
                    "sentence": item.sentence,
                    "metric": item.comparison.metric,
                    "reference": item.comparison.reference,
                    "leader": item.comparison.leader,
                    "best": item.comparison.best,
                    "differences": [each.to_json() for each in item.comparison.differences],
                    "from_leader": [each.to_json() for each in item.comparison.beaten],
                }
                for item in self.sections
            ],
            **({"tuning": self._list_contrasts()} if self.contrasts else {}),
        }

    def _list_contrasts(self) -> list[dict[str, Any]]:
        return [
            {
                "sentence": sentence,
                "metric": section.metric,
                "reference": section.reference,
                "contrasts": [
                    {
                        "value": item.value,
                        "fixed": item.fixed.to_json(),
                        "tuned": item.tuned.to_json(),
                        "contrast": item.contrast.to_json(),
                        "reversed": item.is_reversed,
                    }
                    for item in section.contrasts
                ],
            }
            for sentence, section in zip(self.tuning, self.contrasts, strict=True)
        ]


def draw_conclusion(analysis: Analysis) -> Conclusion:
    """The conclusion of an analysis; it says so if there is nothing to conclude."""
    design, comparisons = analysis.design, analysis.comparisons
    variance = tuple(describe_variance(item) for item in analysis.seed_variances)
    if not comparisons:
        return Conclusion((), _explain_nothing(analysis), "", variance)
    alone = len(comparisons) == 1
    sections = tuple(
        SectionConclusion(
            "" if alone else design.name_section(item.section), describe_section(item), item
        )
        for item in comparisons
    )
    ranks = analysis.problem_ranks
    return Conclusion(
        sections,
        describe_ranks(ranks, design) if ranks else "",
        "" if alone else count_conclusions(comparisons, design),
        variance,
        describe_tuning(analysis.rate_contrasts, design),
        analysis.rate_contrasts,
    )


def _explain_nothing(analysis: Analysis) -> str:
    """Why there is no comparison."""
    if analysis.seed_variances:
        several = analysis.design.compared in analysis.design.varying
        reason = "Values are not compared: runs that share seeds are no independent replicates."
        return reason if several else ""
    counts = Counter(analysis.table.outcomes)
    if not counts["ok"]:
        words = {"missing": "not run yet"}
        found = [f"{counts[name]:,} {words.get(name, name)}" for name in OUTCOMES if counts[name]]
        return f"Nothing can be concluded: no run has a result to compare ({', '.join(found)})."
    compared = analysis.design.format_title(analysis.design.compared)
    return f"Nothing is compared: no section has results of two values of {compared}."
