"""Notes below a table: what a reader must know to read it correctly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from fanin.analysis.analysis import Analysis
from fanin.analysis.cell_table import OUTCOMES
from fanin.analysis.design import Design
from fanin.analysis.factors import format_title
from fanin.analysis.own_data import has_published_bytes
from fanin.analysis.section_comparisons import SectionComparison
from fanin.analysis.statistics import MIN_FOR_INTERVAL, MIN_FOR_TEST
from fanin.analysis.summary import find_measured
from fanin.cell.cell import OWN
from fanin.cell.result import Result
from fanin.report.numbers import choose_number_format
from fanin.report.study_conclusion import MOST_SENTENCES

_LISTED = 8
_MESSAGE = 160


def describe_empty(frame: pd.DataFrame) -> str:
    """The text in place of a table without results."""
    if not len(frame):
        return "Nothing to show yet: no cells."
    counts = frame["outcome"].value_counts()
    tried = [f"{counts[name]:,} {name}" for name in ("failed", "killed") if counts.get(name)]
    if not tried:
        return f"Nothing to show yet: none of the {len(frame):,} planned cells has run."
    return (
        f"Nothing to show: none of the {len(frame):,} planned cells has a result that counts; "
        f"{' and '.join(tried)}."
    )


def write_notes(analysis: Analysis, *, ranked: bool = True) -> tuple[str, ...]:
    """The study's own notes, then what is incomplete, what the numbers mean, what may be concluded,
    and what is unusual.

    `ranked` says whether the table has a column of mean ranks.
    """
    frame, design = analysis.frame, analysis.design
    replicates = count_most_replicates(frame, design)
    found = [
        *analysis.plan.notes,
        *_note_incomplete(frame),
        *_note_numbers(frame, replicates, ranked, crossed=bool(analysis.seed_variances)),
        *_note_metric(analysis),
        *_note_comparisons(design, analysis.comparisons, replicates),
        *_note_mixed_environments(frame, design),
        *_note_several_data(analysis.planned_results),
        *_note_doubts(analysis.planned_results),
        *_note_missing_metrics(analysis.planned_results),
        *_note_other_data(analysis.planned_results),
    ]
    return capitalize(found)


def capitalize(found: Iterable[str]) -> tuple[str, ...]:
    """The notes, each with a capital first letter."""
    return tuple(note[:1].upper() + note[1:] for note in found)


def count_most_replicates(frame: pd.DataFrame, design: Design) -> int:
    """The number of planned replicates of the condition that has most."""
    return int(
        frame.groupby([*design.section, design.compared], dropna=False, sort=False).size().max()
    )


def _note_incomplete(frame: pd.DataFrame) -> list[str]:
    counts = {outcome: int((frame["outcome"] == outcome).sum()) for outcome in OUTCOMES}
    if counts["ok"] == len(frame):
        return []
    words = {"missing": "missing (not run yet)", "killed": "killed (their process died or hung)"}
    others = ", ".join(
        f"{counts[name]:,} {words.get(name, name)}" for name in OUTCOMES[1:] if counts[name]
    )
    said = [f"{counts['ok']:,} of {len(frame):,} cells trained to their end; {others}"]
    failed = frame[frame["outcome"].isin(("failed", "killed"))]
    for message, count in failed["message"].value_counts().head(2).items():
        said.append(f"{count:,} × {_cut(_find_reason(str(message)) or 'failed without a message')}")
    return said


def _find_reason(message: str) -> str:
    """The line of a message that says what went wrong: the last one of a traceback, or what stands
    before it.
    """
    lines = message.strip().splitlines()
    is_trace = bool(lines) and lines[0].startswith("Traceback")
    return lines[-1] if is_trace else message.partition("\nTraceback")[0]


def _note_numbers(
    frame: pd.DataFrame, replicates: int, ranked: bool, *, crossed: bool
) -> list[str]:
    if replicates == 1:
        return []
    if crossed:
        said = [
            "mean ± standard deviation over n runs, which share seeds with one another, so that "
            "their mean has no interval"
        ]
    elif replicates >= MIN_FOR_INTERVAL:
        said = [
            "mean ± half-width of its 95 % interval (Student's t over n replicates), from "
            f"{MIN_FOR_INTERVAL} replicates on"
        ]
    else:
        said = [
            f"mean ± standard deviation over n replicates; an interval needs {MIN_FOR_INTERVAL}"
        ]
    if (frame["outcome"] == "diverged").any():
        rank = ", rank the mean rank" if ranked else ""
        said.append(
            f"no mean if a replicate diverged: med is the median{rank}, diverged runs counted "
            "as worst"
        )
        if ranked and not crossed and replicates >= MIN_FOR_INTERVAL:
            said.append(
                "behind a share that diverged: Wilson's 95 % interval of the rate among finished "
                "runs"
            )
    return said


def _note_metric(analysis: Analysis) -> list[str]:
    """By which metric values are compared, if the plan names one."""
    metric = analysis.plan.metric
    if not metric or not analysis.comparisons:
        return []
    chosen = find_measured(metric, analysis.table.metrics)
    others = sum(item.metric != chosen for item in analysis.comparisons)
    said = f"values are compared by {_name_metric(chosen or metric)}, as was asked for"
    if others:
        said += f"; {others} sections have not measured it and are compared by their main metric"
    return [said]


def _note_comparisons(
    design: Design, comparisons: Sequence[SectionComparison], replicates: int
) -> list[str]:
    """How values were compared, and what could have been seen where replicates are too few."""
    if not comparisons:
        return []
    if replicates == 1:
        return ["one replicate per row: too few to rank, differences may be chance"]
    few = [item for item in comparisons if item.too_few]
    is_told = len(comparisons) <= MOST_SENTENCES  # what could have been seen, by the answer
    said = []
    if len(few) < len(comparisons):
        marked = (
            f"* beats every other {format_title(design.compared)} of its section"
            if any(item.best for item in comparisons)
            else "no value is marked as best: none beats every other of its section"
        )
        said.append(
            f"{marked} (exact sign-flip tests of paired replicates, 5 % corrected for all of a "
            "section; intervals are Student's t, 95 %, of one difference alone)"
        )
    if few:
        pairs = (
            f"{max(item.most_pairs for item in few)} of the {MIN_FOR_TEST} paired replicates needed"
        )
        said.append(
            f"too few to rank or test{'' if len(few) == len(comparisons) else ' elsewhere'} "
            f"({pairs}){'' if is_told else _describe_detectable(design, few)}"
        )
    return said


def _describe_detectable(design: Design, few: list[SectionComparison]) -> str:
    seen = [item for item in few if math.isfinite(item.detectable)]
    if not seen:
        return ""
    listed = "; ".join(
        f"{_name_section(design, item)}{_format_metric(item.metric, item.detectable)} in "
        f"{_name_metric(item.metric)}"
        for item in seen[:_LISTED]
    )
    more = f"; and {len(seen) - _LISTED} more" if len(seen) > _LISTED else ""
    return (
        ". Smallest difference that could have been seen (80 % power, two-sided 5 % after "
        f"correction): {listed}{more}"
    )


def _format_metric(metric: str, value: float) -> str:
    return choose_number_format(metric, [value]).text(value)


def _note_mixed_environments(frame: pd.DataFrame, design: Design) -> list[str]:
    run = frame[frame["outcome"] != "missing"]
    compared = run.groupby([*design.section, *design.pairing], dropna=False, sort=False)
    mixed = int((compared["environment"].nunique() > 1).sum())
    return (
        [f"{mixed:,} blocks mix environments; runs of different environments are never paired"]
        if mixed
        else []
    )


def _note_several_data(results: Iterable[Result]) -> list[str]:
    """Data sets that changed between results: these cannot be compared with one another."""
    fingerprints: dict[str, Counter[str]] = {}
    for result in results:
        if result.fingerprint:
            fingerprints.setdefault(result.cell.data, Counter())[result.fingerprint] += 1
    return [
        f"not one data set: {name} changed between results "
        f"({', '.join(f'{n:,} of {text[:12]}' for text, n in counts.most_common(_LISTED))}); "
        "results of different data are never paired. Run the study again to train them all on the "
        "data of now"
        for name, counts in fingerprints.items()
        if len(counts) > 1
    ]


def _note_doubts(results: Iterable[Result]) -> list[str]:
    """What looks like a mistake in the data, as results recorded it."""
    said: dict[str, None] = {}
    for result in results:
        doubts = result.data.get("doubts")
        for doubt in doubts if isinstance(doubts, list) else []:
            name = f"{result.cell.data}: " if result.cell.data != OWN else ""
            said[f"{name}{_cut(str(doubt))}"] = None
    return list(said)


def _note_missing_metrics(results: Iterable[Result]) -> list[str]:
    missing = Counter(
        name for result in results for name in result.data.get("missing_metrics") or ()
    )
    return [
        f"{name} is missing in {count:,} cells that trained to their end: it was not finite, or "
        "its code raised an error (see the logs)"
        for name, count in missing.items()
    ]


def _note_other_data(results: Iterable[Result]) -> list[str]:
    names = sorted(
        {
            result.cell.data
            for result in results
            if result.data.get("canonical") is False and has_published_bytes(result.cell.data)
        }
    )
    return [f"not the published bytes of the data set: {', '.join(names)}"] if names else []


def _name_section(design: Design, comparison: SectionComparison) -> str:
    heading = design.name_section(comparison.section)
    return f"{heading} " if heading else ""


def _name_metric(metric: str) -> str:
    return metric.replace("mae", "MAE").replace("_", " ")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE else line[: _MESSAGE - 1] + "…"
