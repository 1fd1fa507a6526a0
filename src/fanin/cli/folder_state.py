"""The state of a results folder: what is done, what is running, what failed; in JSON and in words.

It imports little, because ``fanin status`` should answer at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.cell.cell import OWN
from fanin.cli.command_output import CommandOutput, print_lines
from fanin.report.escaping import escape_invisible

if TYPE_CHECKING:
    from fanin.report.tables.table import Table
    from fanin.store.outcomes import OutcomeSnapshot, StoredOutcome

    _Failures = list[tuple[str, StoredOutcome]]

_OUTCOMES = ("ok", "diverged", "failed", "killed", "missing")
_MAX_FAILURES = 10
_MESSAGE_LENGTH = 300
_MAX_LINES = 5
_LIBRARIES = ("site-packages", "/fanin/", "<frozen", "/lib/python")

_Groups = dict[tuple[str, str], Counter[str]]
"""(model, data) → the number of its planned cells by outcome."""


def read_state(folder: Path) -> CommandOutput:
    """The state of a results folder. Raises `UsageError` and `StoreCorrupt`."""
    from fanin.store.outcomes import read_outcomes

    snapshot = read_outcomes(folder)
    groups, failures = _count_outcomes(snapshot), _list_failures(snapshot)
    return CommandOutput(
        _to_json(snapshot, groups, failures), lambda: _show(snapshot, groups, failures, folder)
    )


def _to_json(snapshot: OutcomeSnapshot, groups: _Groups, failures: _Failures) -> dict[str, Any]:
    progress, holder = snapshot.progress, snapshot.holder
    return {
        "folder": str(snapshot.path),
        "study": snapshot.study,
        "total": len(snapshot.planned),
        "outcomes": dict(_sum_counts(groups)),
        "groups": [
            {"model": model, "data": data, **{name: counts[name] for name in _OUTCOMES}}
            for (model, data), counts in groups.items()
        ],
        "running": {"pid": holder.pid, "host": holder.host, "since": holder.started}
        if holder
        else None,
        "cells_in_training": [vars(cell) for cell in progress.running] if progress else [],
        "eta_seconds": progress.eta if progress else None,
        "failures": [
            {"cell": cell, "outcome": result.outcome, "message": result.message}
            for cell, result in failures
        ],
        "stored_results": len(snapshot.results),
    }


def _show(snapshot: OutcomeSnapshot, groups: _Groups, failures: _Failures, folder: Path) -> None:
    from fanin.cell.result import find_reason
    from fanin.report.tables.terminal import print_table

    if snapshot.study is None:
        print_lines(
            f"{escape_invisible(folder)} holds {len(snapshot.results):,} results and no plan: no "
            "study was run here yet."
        )
        print_lines("Next: fanin run STUDY --out " + escape_invisible(folder))
        return
    print_table(_make_table(snapshot.study, groups))
    print_lines("")
    print_lines(_describe_activity(snapshot))
    for description, result in failures[:_MAX_FAILURES]:
        reason = find_reason(result.message)[:_MESSAGE_LENGTH] or "no message"
        print_lines(escape_invisible(f"{result.outcome}: {description}: {reason}"))
        print_lines(escape_invisible(f"    {line}") for line in find_place(result.message))
    if len(failures) > _MAX_FAILURES:
        print_lines(f"… and {len(failures) - _MAX_FAILURES:,} more; fanin status --json lists all.")
    if failures:
        print_lines(f"What workers printed last is in {escape_invisible(snapshot.path / 'logs')}.")
    print_lines(_suggest_next(snapshot, groups, folder))


def _make_table(study: str, counts: _Groups) -> Table:
    from fanin.report.tables.table import Column, Table, TableEntry

    outcomes = [name for name in _OUTCOMES if any(group[name] for group in counts.values())]
    rows = [
        (
            TableEntry(f"{model} · {data}" if data != OWN else model),
            TableEntry(f"{_count_done(group):,}/{group.total():,}"),
            *(TableEntry(f"{group[name]:,}") for name in outcomes),
        )
        for (model, data), group in counts.items()
    ]
    total = _sum_counts(counts)
    return Table(
        title=f"{study}: {_count_done(total):,} of {total.total():,} cells done",
        columns=(
            Column("group", "model · data", numeric=False),
            Column("done", "done"),
            *(Column(name, name) for name in outcomes),
        ),
        rows=tuple(rows),
    )


def _describe_activity(snapshot: OutcomeSnapshot) -> str:
    from fanin.store.results_folder import ResultsFolder

    if snapshot.without_lock:
        return f"Whether it is running cannot be told: {escape_invisible(snapshot.without_lock)}"
    if snapshot.holder is None:
        return "Not running."
    lines = [f"Running: {escape_invisible(snapshot.holder)}."]
    if snapshot.progress:
        lines += [
            f"  {escape_invisible(cell.description)}: epoch {cell.epoch} of at most {cell.epochs}"
            for cell in snapshot.progress.running
        ]
        if snapshot.progress.eta is not None:
            from fanin.progress.remaining_time import format_duration

            lines.append(f"About {format_duration(snapshot.progress.eta)} to go.")
    elif ResultsFolder(snapshot.path).progress.exists():
        lines.append("What it is doing cannot be read: progress.json is damaged.")
    return "\n".join(lines)


def _suggest_next(snapshot: OutcomeSnapshot, groups: _Groups, folder: Path) -> str:
    total = _sum_counts(groups)
    if snapshot.holder is not None:
        return f"Next: wait, then run fanin status {escape_invisible(folder)} again."
    if total["missing"] or total["failed"] or total["killed"]:
        has_failed = total["failed"] or total["killed"]
        retried = ", and failed and killed ones once more" if has_failed else ""
        return f"Next: repeat the fanin run command. It trains the missing cells{retried}."
    return f"Next: fanin report {escape_invisible(folder)}"


def _count_outcomes(snapshot: OutcomeSnapshot) -> _Groups:
    """(model, data) → the number of its planned cells by outcome, in the order of the plan."""
    counts: _Groups = {}
    for fields, labels, result in snapshot.planned:
        group = _name_workload(fields, labels)
        if group not in counts:
            counts[group] = Counter()
        counts[group][result.outcome if result else "missing"] += 1
    return counts


def _name_workload(fields: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[str, str]:
    """Model and data set of a cell; a trainer stands for a model without a name."""
    model = labels.get("model", str(fields["model"]))
    named = model if model != OWN else str(fields.get("trainer", OWN))
    return named, labels.get("data", str(fields["data"]))


def _sum_counts(counts: _Groups) -> Counter[str]:
    return sum(counts.values(), Counter())


def _count_done(counts: Counter[str]) -> int:
    return counts["ok"] + counts["diverged"]


def _list_failures(snapshot: OutcomeSnapshot) -> _Failures:
    """(description, result) of each planned cell that failed or was killed."""
    return [
        (
            f"{' on '.join(name for name in _name_workload(fields, {}) if name != OWN)}, "
            f"{labels.get('initializer', fields['initializer'])}, "
            f"replicate {fields.get('replicate', 0)}",
            result,
        )
        for fields, labels, result in snapshot.planned
        if result is not None and result.outcome in ("failed", "killed")
    ]


def find_place(message: str) -> list[str]:
    """Where something went wrong: of a traceback, the file, the line and the code of the last call
    that is not a library's; else the last lines after the first.
    """
    lines = message.strip().splitlines()
    frames = [i for i, line in enumerate(lines) if line.lstrip().startswith('File "')]
    own = [i for i in frames if not any(part in lines[i] for part in _LIBRARIES)]
    if not frames:
        return lines[1:][-_MAX_LINES:]
    place = (own or frames)[-1]
    code = lines[place + 1 : place + 2]
    return [line for line in (lines[place], *code) if line.startswith("  ")]
