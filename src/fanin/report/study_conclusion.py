"""Conclusion: what a study's comparisons say, in sentences generated from the numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fanin.analysis import statistics
from fanin.analysis.analysis import Analysis
from fanin.analysis.design import Design
from fanin.analysis.factors import format_title
from fanin.analysis.problem_ranks import ProblemRanks
from fanin.analysis.section_comparisons import Difference, SectionComparison
from fanin.analysis.section_runs import OK
from fanin.analysis.statistics import MIN_FOR_TEST
from fanin.analysis.statistics.power import MOST_REPLICATES
from fanin.analysis.statistics.ranks import MIN_PROBLEMS
from fanin.report.numbers import NumberFormat, choose_number_format

SCHEMA = 1

MOST_SENTENCES = 4
"""More sections than so many are counted on top of a table instead of being told one by one."""

_LISTED = 5


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

    @property
    def lines(self) -> tuple[str, ...]:
        """What stands on top of a table: at most `MOST_SENTENCES` sections one by one."""
        told = map(str, self.sections) if len(self.sections) <= MOST_SENTENCES else (self.summary,)
        return tuple(line for line in (*told, self.overall) if line)

    def __str__(self) -> str:
        return "\n".join(line for line in (*map(str, self.sections), self.overall) if line)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the sentences, and each difference with its numbers."""
        return {
            "schema": SCHEMA,
            "overall": self.overall,
            "summary": self.summary,
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
        }


def draw_conclusion(analysis: Analysis) -> Conclusion:
    """The conclusion of an analysis; it says so if there is nothing to conclude."""
    design, comparisons = analysis.design, analysis.comparisons
    if not comparisons:
        return Conclusion((), _explain_nothing(analysis), "")
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
        "" if alone else _count_conclusions(comparisons, design),
    )


def describe_section(comparison: SectionComparison) -> str:
    """Who is best, who is tied with it, what is worse by how much, what cannot be told."""
    metric = format_title(comparison.metric)
    leader, reference = comparison.leader, comparison.reference
    value = _format_leader(comparison)
    if all(item.judgement == "equal" for item in comparison.differences):
        return f"all have the same {metric} in each replicate ({value})."
    if comparison.pairs <= 1:
        return f"{leader} scored best in {metric} ({value}); with one replicate it may be chance."
    if all(item.judgement == "too few" for item in comparison.differences):
        return (
            f"{leader} has the best {metric} ({value}), but {comparison.pairs} replicates are too "
            f"few to test ({MIN_FOR_TEST} needed).{_describe_detectable(comparison)}"
        )
    if leader == reference or _find(comparison.beaten, reference).judgement == "worse":
        head = (
            f"{leader} is the best in {metric} ({value})"
            if comparison.best
            else f"{leader} has the best {metric} ({value})"
        )
        parts = _describe_differences(comparison.beaten, comparison, "")
    else:
        away = _describe_undecided(comparison.get_difference(leader), comparison)
        head = (
            f"{leader} has the best {metric} ({value}), but cannot be told from the reference "
            f"{reference}{away}"
        )
        others = [item for item in comparison.differences if item.value != leader]
        parts = _describe_differences(others, comparison, f" than {reference}")
    return "; ".join([head, *parts]) + "." + _describe_detectable(comparison)


def describe_ranks(ranks: ProblemRanks, design: Design) -> str:
    """One sentence over the sections as problems."""
    found, order = ranks.comparison, ranks.order
    listed = [f"{ranks.names[i]} {found.ranks[i]:.1f}" for i in order[:_LISTED]]
    more = f", and {len(order) - _LISTED} more" if len(order) > _LISTED else ""
    said = f"Average rank over {ranks.sections} sections: {', '.join(listed)}{more}"
    if found.is_descriptive:
        return f"{said}. This describes these sections; a test over them needs {MIN_PROBLEMS}."
    if not found.p_value <= 0.05:
        return f"{said}. They do not differ by Friedman's test (p = {found.p_value:.2g})."
    tied = f", which leaves {_join(ranks.tied)} tied with it" if ranks.tied else ", by all others"
    return (
        f"{said}. They differ (Friedman, p = {found.p_value:.2g}); {ranks.names[order[0]]} is not "
        f"reached within the critical difference of {found.critical_difference:.1f}{tied}."
    )


def format_needed(needed: int | None, *, known: bool = True) -> str:
    """How many replicates would tell a difference, in words; empty if that is not known."""
    if needed is not None:
        return f"about {needed:,} replicates would tell"
    return f"more than {MOST_REPLICATES:,} replicates would be needed" if known else ""


def choose_difference_format(comparison: SectionComparison) -> NumberFormat:
    """The format that the differences of a section share."""
    items = (*comparison.differences, *comparison.beaten)
    return choose_number_format(
        comparison.metric,
        [abs(item.mean) for item in items],
        [item.half_width for item in items],
    )


def _describe_differences(
    items: Sequence[Difference], comparison: SectionComparison, than: str
) -> list[str]:
    """The parts of a sentence about differences: what is better, worse, equal, not told apart."""
    form = choose_difference_format(comparison)
    ordered = sorted(items, key=lambda item: (math.isnan(item.mean), abs(item.mean)))
    told = {
        word: [item for item in ordered if item.judgement == word]
        for word in ("better", "worse", "equal", "equivalent", "cannot tell", "too few")
    }
    parts = [
        f"{word}{than}: "
        + _list([f"{item.value} {_describe_amount(item, form)}" for item in told[word]])
        for word in ("better", "worse")
        if told[word]
    ]
    parts += [
        f"{words}: {_list([item.value for item in told[word]])}"
        for word, words in (
            ("equal", "equal in each replicate"),
            ("equivalent", "equivalent"),
            ("too few", f"too few pairs to test ({MIN_FOR_TEST} needed)"),
        )
        if told[word]
    ]
    if told["cannot tell"]:
        texts = [
            f"{item.value}{_describe_undecided(item, comparison)}" for item in told["cannot tell"]
        ]
        parts.append(f"not told apart{' from ' + than[6:] if than else ''}: {_list(texts)}")
    return parts


def _describe_amount(item: Difference, form: NumberFormat) -> str:
    """``by 0.0123 ± 0.0031``; of runs that diverged, the pairs lost."""
    if math.isfinite(item.mean):
        failed = f", {item.failed} failed" if item.failed else ""
        return f"by {form.text(abs(item.mean), item.half_width)}{failed}"
    share = f"{item.losses} of {item.n} pairs lost"
    if item.judgement == "better":
        share = f"{item.wins} of {item.n} pairs won"
    troubled = [
        f"{count} with a {word} run"
        for count, word in ((item.diverged, "diverged"), (item.failed, "failed"))
        if count
    ]
    return f"({share}, {', '.join(troubled)})"


def _describe_undecided(item: Difference, comparison: SectionComparison) -> str:
    """`` (by 0.0004 ± 0.0011; about 310 replicates would tell)``"""
    form = choose_difference_format(comparison)
    if item.judgement == "equal":
        return " (equal in each replicate)"
    amount = (
        form.text(item.mean, item.half_width)
        if math.isfinite(item.mean)
        else f"{item.wins} of {item.n} pairs won"
    )
    needed = format_needed(item.needed, known=item.needed is not None)
    return f" ({'; '.join(filter(None, (amount, needed)))})"


def _describe_detectable(comparison: SectionComparison) -> str:
    if not math.isfinite(comparison.detectable):
        return ""
    amount = choose_number_format(comparison.metric, [comparison.detectable]).text(
        comparison.detectable
    )
    fewest = min(item.n for item in comparison.differences)
    return (
        f" With {fewest} pairs a difference of {amount} from {comparison.reference} would have "
        "been seen (80 % power)."
    )


def _format_leader(comparison: SectionComparison) -> str:
    column = comparison.names.index(comparison.leader)
    runs = comparison.runs
    values = runs.values[runs.states[:, column] == OK, column]
    found = statistics.estimate(values)
    if not math.isfinite(found.mean):
        return "no value"
    return choose_number_format(comparison.metric, [found.mean], [found.half_width]).text(
        found.mean, found.half_width
    )


def _count_conclusions(comparisons: Sequence[SectionComparison], design: Design) -> str:
    """In how many sections which value is the best."""
    compared = format_title(design.compared)
    best = Counter(item.best for item in comparisons if item.best)
    few = sum(item.too_few for item in comparisons)
    total = len(comparisons)
    if few == total:
        pairs = min(item.pairs for item in comparisons)
        leaders = Counter(item.leader for item in comparisons)
        return (
            f"Too few replicates to test in all {total} sections ({pairs} of {MIN_FOR_TEST}); the "
            f"best mean has {_count(leaders)}."
        )
    leaders = Counter(item.leader for item in comparisons if not item.best)
    parts = [
        f"One {compared} is the best in {sum(best.values())} of {total} sections"
        + (f" ({_count(best)})" if best else "")
    ]
    if leaders:
        parts.append(
            f"in the others the best mean cannot be told from all others ({_count(leaders)})"
        )
    if few:
        parts.append(f"{few} have too few replicates to test")
    return "; ".join(parts) + "."


def _explain_nothing(analysis: Analysis) -> str:
    compared = analysis.design.format_title(analysis.design.compared)
    if analysis.is_empty:
        return ""
    if analysis.design.compared not in analysis.design.varying:
        return f"Nothing is compared: each section has one {compared}."
    return (
        f"Nothing can be concluded: no section has two values of {compared} with a run that "
        "trained to its end."
    )


def _find(items: Iterable[Difference], value: str) -> Difference:
    return next(item for item in items if item.value == value)


def _count(names: Counter[str]) -> str:
    listed = [f"{name} {count}" for name, count in names.most_common(_LISTED)]
    return _list([*listed, *[""] * (len(names) - len(listed))])


def _list(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more


def _join(names: Sequence[str]) -> str:
    return _list(names)
