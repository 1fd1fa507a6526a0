"""What tuned learning rates change, in sentences made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.analysis.design import Design
from fanin.analysis.paired_runs import Difference
from fanin.analysis.statistics import MIN_FOR_TEST
from fanin.analysis.tuning_contrasts import FACTOR, SectionContrast, TuningContrast
from fanin.report.numbers import NumberFormat, choose_number_format

_LISTED = 5


def describe_tuning(contrasts: Sequence[SectionContrast], design: Design) -> tuple[str, ...]:
    """A sentence for each section that was trained with both rates."""
    heading_factors = [name for name in design.headings if name != FACTOR]
    alone = len(contrasts) == 1
    return tuple(
        f"Tuning{'' if alone else ', ' + design.name_section(item.section, heading_factors)}: "
        f"{describe_section_tuning(item)}"
        for item in contrasts
    )


def describe_section_tuning(section: SectionContrast) -> str:
    """Who leads with either rate, and which differences from the reference tuning changes."""
    form = _choose_format(section)
    leaders = section.fixed.leader, section.tuned.leader
    lead = (
        f"{leaders[0]} has the best mean with the fixed rate and with tuned ones"
        if leaders[0] == leaders[1]
        else f"{leaders[0]} has the best mean with the fixed rate, {leaders[1]} with tuned ones"
    )
    groups = {
        word: [item for item in section.contrasts if item.contrast.judgement == word]
        for word in ("better", "worse", "equal", "cannot tell", "too few")
    }
    than = f"relative to {section.reference}"
    parts = [lead]
    for word, said in (("better", "favours"), ("worse", "disfavours")):
        if groups[word]:
            listed = _list([_describe_contrast(item, form) for item in groups[word]])
            parts.append(f"{than}, tuning {said} {listed}")
    unchanged = [*groups["equal"], *groups["cannot tell"]]
    if unchanged:
        listed = _list([_describe_contrast(item, form) for item in unchanged])
        parts.append(f"no change {than} is shown of {listed}")
    if groups["too few"]:
        parts.append(f"{len(groups['too few'])} have too few pairs to test ({MIN_FOR_TEST} needed)")
    reversed_ = [item for item in section.contrasts if item.is_reversed]
    parts.append(
        "the order is reversed of " + _list([_describe_reversal(i, form) for i in reversed_])
        if reversed_
        else f"no order with {section.reference} is shown to be reversed"
    )
    return "; ".join(parts) + "."


def _choose_format(section: SectionContrast) -> NumberFormat:
    items = [each for item in section.contrasts for each in (item.fixed, item.tuned, item.contrast)]
    return choose_number_format(
        section.metric, [abs(item.mean) for item in items], [item.half_width for item in items]
    )


def _describe_contrast(item: TuningContrast, form: NumberFormat) -> str:
    return f"{item.value} ({_format(item.contrast, form)})"


def _describe_reversal(item: TuningContrast, form: NumberFormat) -> str:
    fixed, tuned = _format(item.fixed, form), _format(item.tuned, form)
    return f"{item.value} and {item.contrast.reference} (fixed {fixed}, tuned {tuned})"


def _format(item: Difference, form: NumberFormat) -> str:
    if not math.isfinite(item.mean):
        return f"{item.wins} of {item.n} pairs for it, {item.diverged} with a diverged run"
    return f"{'+' if item.mean > 0 else ''}{form.text(item.mean, item.half_width)}"


def _list(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more
