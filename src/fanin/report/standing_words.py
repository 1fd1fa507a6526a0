"""What may be said of a newcomer beside a study's baselines, in sentences made from the numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.analysis.design import Design
from fanin.analysis.factors import format_title
from fanin.analysis.statistics import MIN_FOR_TEST
from fanin.report.numbers import NumberFormat, choose_number_format

if TYPE_CHECKING:
    from fanin.analysis.newcomer_comparison import BaselineDifference, NewcomerSection

MOST_SENTENCES = 4
"""More sections than so many are told one by one in the table only."""

_LISTED = 6

_WORDS = {
    "better": "better than",
    "worse": "worse than",
    "equal": "equal in each replicate to",
    "equivalent": "equivalent to",
    "cannot tell": "not told apart from",
}
_IN_SECTIONS = {
    "better": "better in",
    "worse": "worse in",
    "equal": "equal in",
    "equivalent": "equivalent in",
    "cannot tell": "not told apart in",
}
_OPEN = {
    "too few": f"too few replicates to test ({MIN_FOR_TEST} needed)",
    "other data": "other data, so nothing is compared",
    "absent": "no run to compare",
}
"""Judgements that say something of the newcomer, and those that say why nothing can be said."""


@dataclass(frozen=True)
class StandingVerdict:
    """What may be said of a newcomer. ``str`` has a line over all, and one for each section."""

    overall: str
    sections: tuple[tuple[str, str, NewcomerSection], ...]
    """Heading (empty if there is one section), sentence and numbers of each."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What stands on top of a table."""
        told = self.sections if len(self.sections) <= MOST_SENTENCES else ()
        return (self.overall, *(_join_heading(heading, said) for heading, said, _ in told))

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the sentences, and each difference with its numbers."""
        return {
            "overall": self.overall,
            "sections": [
                {
                    "heading": heading,
                    "sentence": said,
                    "metric": section.metric,
                    "differences": [
                        {**item.difference.to_json(), "pairing": item.pairing}
                        | {"judgement": item.judgement}
                        for item in section.against
                    ],
                }
                for heading, said, section in self.sections
            ],
        }

    def __str__(self) -> str:
        return "\n".join(
            [self.overall, *(_join_heading(heading, said) for heading, said, _ in self.sections)]
        )


def describe_standing(
    newcomer: str, sections: Sequence[NewcomerSection], design: Design
) -> StandingVerdict:
    """The verdict on a newcomer."""
    if not sections:
        return StandingVerdict(
            f"Nothing can be said of {newcomer}: no section has runs of it and of a baseline.", ()
        )
    return StandingVerdict(
        _describe_all(newcomer, sections),
        tuple(
            (
                "" if len(sections) == 1 else design.name_section(section.section),
                describe_section(section),
                section,
            )
            for section in sections
        ),
    )


def describe_section(section: NewcomerSection) -> str:
    """The newcomer's value, and whom it is better than, worse than and not told apart from."""
    form = choose_format(section)
    value = format_value(section)
    said = [
        f"{words} {_list([_describe_item(item, form) for item in items])}"
        for judgement, words in _WORDS.items()
        if (items := [item for item in section.against if item.judgement == judgement])
    ]
    unsaid = [
        f"{_list([_describe_item(item, form) for item in items])}: {words}"
        for judgement, words in _OPEN.items()
        if (items := [item for item in section.against if item.judgement == judgement])
    ]
    head = f"{section.newcomer} ({format_title(section.metric)} {value})"
    told = f"{head} is {'; '.join(said)}." if said else f"{head}."
    return " ".join([told, *(f"Beside {text}." for text in unsaid)])


def choose_format(section: NewcomerSection) -> NumberFormat:
    """The format that the differences of a section share."""
    items = [item.difference for item in section.against]
    return choose_number_format(
        section.metric, [abs(item.mean) for item in items], [item.half_width for item in items]
    )


def format_value(section: NewcomerSection) -> str:
    """The newcomer's mean; how many runs diverged, if one did."""
    if section.diverged:
        return f"{section.diverged} of {section.planned} runs diverged"
    found = section.estimate
    form = choose_number_format(section.metric, [found.mean], [found.half_width])
    return form.text(found.mean, found.half_width)


def write_notes(sections: Sequence[NewcomerSection], environments: str) -> list[str]:
    """What a reader must know to read the verdicts correctly.

    Args:
        sections: the newcomer beside the baselines.
        environments: in what the baselines' environment differs, in words.
    """
    items = [item for section in sections for item in section.against]
    pairings = Counter(item.pairing for item in items)
    notes = []
    if items:
        notes.append(
            "Differences are newcomer − baseline with 95 % intervals, each alone; p is corrected "
            "for all baselines of a section (Holm)."
        )
    if pairings["paired"]:
        notes.append(
            "Paired: runs of one replicate in one environment share batches, masks and normal "
            "draws. Student's t intervals, exact sign-flip tests."
        )
    if pairings["unpaired"]:
        notes.append(
            f"† Unpaired: {pairings['unpaired']} of {len(items)} baselines are from another "
            f"environment ({environments}). They are independent groups: "
            "Welch's interval and test, which claim less than pairs would. An effect of the "
            "environment itself would look like one of the initializer. --retrain trains them here."
        )
    if pairings["other data"]:
        notes.append(
            "Other data: the baselines were trained on other bytes of the data set, so nothing is "
            "compared. --retrain trains them on those of now."
        )
    return notes


def describe_budgets(own: int, budgets: Collection[int]) -> str:
    """How many trial trainings tuned the newcomer's rates, and each baseline's."""
    others = sorted(set(budgets))
    given = f"{others[0]:,}" if len(others) == 1 else f"{others[0]:,} to {others[-1]:,}"
    between = f" and {given} each baseline's" if others else ""
    return (
        f"Learning rates: {own:,} trial trainings tuned the newcomer's{between}, by one rule on "
        "the same tuning seeds: a grid grows where its best rate lies at the edge."
    )


def _describe_all(newcomer: str, sections: Sequence[NewcomerSection]) -> str:
    items = [item for section in sections for item in section.against]
    counts = Counter(item.judgement for item in items)
    over = f" over {len(sections)} sections" if len(sections) > 1 else ""
    what = "comparisons" if len(sections) > 1 else "baselines"
    words = _IN_SECTIONS if len(sections) > 1 else _WORDS
    parts = [f"{words[name]} {counts[name]}" for name in words if counts[name]]
    open_parts = [f"{counts[name]}: {_OPEN[name]}" for name in _OPEN if counts[name]]
    unsaid = f" Of {len(items)} {what}{over}, {'; '.join(open_parts)}." if open_parts else ""
    if not parts:
        return f"Nothing can be said of {newcomer} yet.{unsaid}"
    said = f"{newcomer} is {', '.join(parts)} of {len(items)} {what}{over}"
    best = sum(all(i.judgement == "better" for i in section.against) for section in sections)
    if best:
        said += (
            "; it is the best of all"
            if len(sections) == 1
            else f"; it is the best of all in {best} of {len(sections)} sections"
        )
    return f"{said}.{unsaid}"


def _describe_item(item: BaselineDifference, form: NumberFormat) -> str:
    difference = item.difference
    if item.judgement in ("equal", "other data", "absent"):
        return item.baseline
    if math.isfinite(difference.mean):
        sign = "+" if difference.mean > 0 else ""
        amount = f"{sign}{form.text(difference.mean, difference.half_width)}"
    elif item.pairing == "paired":
        amount = f"{difference.wins} of {difference.n} pairs won, {difference.diverged} diverged"
    else:
        amount = f"by rank, {difference.diverged} runs diverged"
    needed = (
        f"; about {difference.needed:,} replicates would tell"
        if difference.needed is not None
        else ""
    )
    return f"{item.baseline} ({amount}{needed})"


def _join_heading(heading: str, said: str) -> str:
    return f"{heading}: {said}" if heading else said


def _list(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
