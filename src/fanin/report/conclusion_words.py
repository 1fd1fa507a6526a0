"""The words of a conclusion: one sentence for a section, one over sections, made from numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fanin.analysis import statistics
from fanin.analysis.design import Design
from fanin.analysis.factors import format_title
from fanin.analysis.paired_runs import ALPHA, Difference
from fanin.analysis.problem_ranks import ProblemRanks
from fanin.analysis.section_comparisons import SectionComparison
from fanin.analysis.section_runs import OK
from fanin.analysis.statistics import MIN_FOR_TEST
from fanin.analysis.statistics.ranks import MIN_PROBLEMS
from fanin.report.numbers import NumberFormat, choose_number_format

_LISTED = 5
_MOST_DECIMALS = 6


def describe_section(comparison: SectionComparison) -> str:
    """Who is best, who is tied with it, what is worse by how much, what cannot be told, how many
    replicates would tell it, and what difference could have been seen.
    """
    metric, value = format_title(comparison.metric), _format_leader(comparison)
    leader, reference = comparison.leader, comparison.reference
    if all(item.judgement == "equal" for item in comparison.differences):
        return f"all have the same {metric} in each replicate ({value})."
    if comparison.most_pairs == 0:
        return f"{leader} scored best in {metric} ({value}); there is no pair of runs to compare."
    if comparison.most_pairs == 1:
        return (
            f"{leader} scored best in {metric} ({value}); with one replicate it may be chance. One "
            f"pair shows no spread, so no difference could have been told ({MIN_FOR_TEST} needed)."
        )
    if comparison.too_few:
        return (
            f"{leader} has the best {metric} ({value}), but {comparison.most_pairs} replicates are "
            f"too few to test ({MIN_FOR_TEST} needed).{_describe_detectable(comparison)}"
        )
    if comparison.leads:
        is_best = "is the best in" if comparison.best else "has the best"
        head = f"{leader} {is_best} {metric} ({value})"
        parts = _describe_differences(comparison, comparison.beaten, leader)
    else:
        undecided = _describe_undecided(comparison, comparison.get_difference(leader))
        head = (
            f"{leader} has the best {metric} ({value}), but is not told apart from the reference "
            f"{reference} ({undecided})"
        )
        others = [item for item in comparison.differences if item.value != leader]
        parts = _describe_differences(comparison, others, reference)
    return "; ".join([head, *parts]) + "." + _describe_detectable(comparison)


def describe_ranks(ranks: ProblemRanks, design: Design) -> str:
    """One sentence over the problems."""
    found, order = ranks.comparison, ranks.order
    listed = _list([f"{ranks.names[i]} {found.ranks[i]:.1f}" for i in order])
    said = f"Average rank over {describe_problems(ranks, design)}: {listed}"
    if found.is_descriptive:
        blocks = "problems" if ranks.settings else "sections"
        return f"{said}. This describes these {blocks}; a test over such needs {MIN_PROBLEMS}."
    friedman = f"Friedman, p {format_p_value(found.p_value)}"
    if not found.p_value <= ALPHA:
        return f"{said}. Over all, none is told apart ({friedman})."
    first = ranks.names[order[0]]
    tied = f"not told apart from {first}: {_list(ranks.tied)}" if ranks.tied else "no other ties it"
    return (
        f"{said}. They differ ({friedman}; ranks more than {found.critical_difference:.1f} apart "
        f"differ, Nemenyi): {tied}."
    )


def describe_problems(ranks: ProblemRanks, design: Design) -> str:
    """``11 sections``; or ``4 problems (32 sections; each problem by the mean rank over the values
    of gain)`` where sections that differ in a setting only are one problem.
    """
    of = f" of {ranks.sections + ranks.others}" if ranks.others else ""
    if not ranks.settings:
        return f"{ranks.sections}{of} sections"
    titles = " and ".join(map(design.format_title, ranks.settings))
    return (
        f"{ranks.problems} problems ({ranks.sections}{of} sections; each problem by the mean rank "
        f"over the values of {titles})"
    )


def count_conclusions(comparisons: Sequence[SectionComparison], design: Design) -> str:
    """Instead of many sentences: in how many sections which value is the best."""
    compared, total = design.format_title(design.compared), len(comparisons)
    few = sum(item.too_few for item in comparisons)
    if few == total:
        pairs = max(item.most_pairs for item in comparisons)
        leaders = Counter(item.leader for item in comparisons)
        return (
            f"Too few replicates to test in all {total} sections ({pairs} of {MIN_FOR_TEST}). "
            f"Sections with the best mean: {_count(leaders)}."
        )
    best = Counter(item.best for item in comparisons if item.best)
    others = Counter(item.leader for item in comparisons if not item.best)
    parts = [
        f"In {sum(best.values())} of {total} sections one {compared} is the best: {_count(best)}."
        if best
        else f"No {compared} is shown to be the best in any of the {total} sections."
    ]
    if others:
        where = "In the others these have the" if best else "The"
        parts.append(f"{where} best mean, not told apart from all others: {_count(others)}.")
    if few:
        parts.append(f"{few} have too few replicates to test.")
    worse = Counter(
        item.value
        for each in comparisons
        for item in (each.beaten if each.leads else each.differences)
        if item.judgement == "worse"
    )
    if worse:
        parts.append(f"Shown to be worse than the best or the reference: {_count(worse)}.")
    return " ".join(parts)


def choose_difference_format(comparison: SectionComparison) -> NumberFormat:
    """The format that the differences of a section share; none that was told reads as zero."""
    items = (*comparison.differences, *comparison.beaten)
    form = choose_number_format(
        comparison.metric,
        [abs(item.mean) for item in items],
        [item.half_width for item in items],
    )
    told = [
        abs(item.mean) / 10**form.exponent
        for item in items
        if item.judgement in ("better", "worse") and item.mean and math.isfinite(item.mean)
    ]
    smallest = min(told, default=1.0)
    needed = -math.floor(math.log10(smallest))
    return replace(form, decimals=min(max(form.decimals, needed), _MOST_DECIMALS))


def format_p_value(p: float, equals: str = "= ") -> str:
    """``= 0.0024``, ``= 0.43``, ``< 0.0001``; `equals` may be left out."""
    if p < 0.0001:
        return "< 0.0001"
    return f"{equals}{p:.4f}" if p < 0.01 else f"{equals}{p:.3f}" if p < 0.1 else f"{equals}{p:.2f}"


def format_amount(number: float, metric: str) -> str:
    """One number of a metric, alone, with two significant digits."""
    return choose_number_format(metric, [number], [number]).text(number)


def _describe_differences(
    comparison: SectionComparison, items: Sequence[Difference], than: str
) -> list[str]:
    """The parts of a sentence: what is tied with a value, better or worse than it."""
    form = choose_difference_format(comparison)
    suffix = "" if than == comparison.leader else f" than {than}"
    told: dict[str, list[Difference]] = {}
    for item in sorted(items, key=lambda item: (math.isnan(item.mean), abs(item.mean))):
        told.setdefault(item.judgement, []).append(item)
    parts = []
    if same := told.get("equal"):
        parts.append(f"equal in each replicate: {_list([item.value for item in same])}")
    if close := told.get("equivalent"):
        parts.append(f"equivalent: {_list([item.value for item in close])}")
    if tied := told.get("cannot tell"):
        texts = [f"{item.value} ({_describe_undecided(comparison, item)})" for item in tied]
        parts.append(f"not told apart from {than if suffix else 'it'}: {_list(texts)}")
    for word in ("better", "worse"):
        if word in told:
            texts = [f"{item.value} {_describe_amount(item, form)}" for item in told[word]]
            parts.append(f"{word}{suffix}: {_list(texts)}")
    if few := told.get("too few"):
        names = _list([item.value for item in few])
        parts.append(f"too few pairs to test ({MIN_FOR_TEST} needed): {names}")
    return parts


def _describe_amount(item: Difference, form: NumberFormat) -> str:
    """``by 0.0123 ± 0.0031``; if runs diverged, the pairs won or lost."""
    failed = [f"{item.failed} failed"] if item.failed else []
    if math.isfinite(item.mean):
        return ", ".join([f"by {form.text(abs(item.mean), item.half_width)}", *failed])
    return f"({', '.join([_describe_wins(item), *failed])})"


def _describe_undecided(comparison: SectionComparison, item: Difference) -> str:
    """``0.0004 ± 0.0011 behind; about 310 replicates would tell``"""
    form = choose_difference_format(comparison)
    if item.judgement == "equal":
        return "equal in each replicate"
    amount = _describe_wins(item)
    if math.isfinite(item.mean):
        ahead = (item.mean > 0) == comparison.runs.higher_is_better
        way = "ahead" if ahead else "behind"
        amount = f"{form.text(abs(item.mean), item.half_width)} {way}" if item.mean else "no gap"
    failed = f"{item.failed} failed" if item.failed else ""
    needed = f"about {item.needed:,} replicates would tell" if item.needed else ""
    return "; ".join(filter(None, (amount, failed, needed)))


def _describe_wins(item: Difference) -> str:
    """``won 3 of 12 pairs, 7 with a diverged run``"""
    way, count = ("lost", item.losses) if item.losses > item.wins else ("won", item.wins)
    diverged = f", {item.diverged} with a diverged run" if item.diverged else ""
    return f"{way} {count} of {item.n} pairs{diverged}"


def _describe_detectable(comparison: SectionComparison) -> str:
    if not math.isfinite(comparison.detectable):
        return ""
    amount = format_amount(comparison.detectable, comparison.metric)
    fewest = min(item.n for item in comparison.differences if item.n >= 2)
    return (
        f" With {fewest} pairs a difference of {amount} from {comparison.reference} would have "
        "been seen (80 % power)."
    )


def _format_leader(comparison: SectionComparison) -> str:
    """The leader's mean and the half-width of its interval."""
    column, runs = comparison.names.index(comparison.leader), comparison.runs
    found = statistics.estimate(runs.values[runs.states[:, column] == OK, column])
    if not math.isfinite(found.mean):
        return "no value"
    form = choose_number_format(comparison.metric, [found.mean], [found.half_width])
    return form.text(found.mean, found.half_width)


def _count(names: Counter[str]) -> str:
    return _list([f"{name} in {count}" for name, count in names.most_common()])


def _list(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more
