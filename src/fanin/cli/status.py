"""``fanin status``: how far a study is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanin.cli.command_output import CommandOutput, JsonOption, print_lines
from fanin.cli.remaining_time import format_duration

if TYPE_CHECKING:
    from fanin.report.tables.table import Table
    from fanin.store.results_store import Snapshot

_OUTCOMES = ("ok", "diverged", "failed", "killed", "missing")
_LISTED = 10
_MESSAGE = 300


def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results folder, such as runs/quick.")
    ],
    as_json: JsonOption = False,
) -> CommandOutput:
    """Show how far a study is, what is running, and what failed.

    Works while the study runs, and changes nothing.

    \b
    Example:
      fanin status runs/quick

    \b
    Exit codes: 0 shown · 2 no results there · 3 store corrupt
    """
    from fanin.store.results_store import read

    snapshot = read(folder)
    return CommandOutput(_to_json(snapshot), lambda: _show(snapshot, folder))


def _to_json(snapshot: Snapshot) -> dict[str, Any]:
    progress, holder = snapshot.progress, snapshot.holder
    return {
        "folder": str(snapshot.path),
        "study": snapshot.plan.study if snapshot.plan else None,
        "total": len(snapshot.planned_results),
        "outcomes": dict(_sum_counts(_count_outcomes(snapshot))),
        "groups": [
            {"model": model, "data": data, **{name: counts[name] for name in _OUTCOMES}}
            for (model, data), counts in _count_outcomes(snapshot).items()
        ],
        "running": {"pid": holder.pid, "host": holder.host, "since": holder.started}
        if holder
        else None,
        "cells_in_training": [vars(cell) for cell in progress.running] if progress else [],
        "eta_seconds": progress.eta if progress else None,
        "failures": [
            {"cell": cell, "outcome": outcome, "message": message}
            for cell, outcome, message in _list_failures(snapshot)
        ],
        "stored_results": len(snapshot.results),
    }


def _show(snapshot: Snapshot, folder: Path) -> None:
    from fanin.report.escaping import escape_invisible
    from fanin.report.tables.terminal import print_table

    if snapshot.plan is None:
        print_lines(
            f"{len(snapshot.results):,} results in {escape_invisible(folder)}, and no plan: no "
            "study was run here yet."
        )
        print_lines("Next: fanin run STUDY --out " + escape_invisible(folder))
        return
    print_table(_make_table(snapshot))
    print_lines("")
    print_lines(_describe_activity(snapshot))
    failures = _list_failures(snapshot)
    for cell, outcome, message in failures[:_LISTED]:
        print_lines(
            f"{outcome}: {escape_invisible(cell)}: {escape_invisible(_get_last_line(message))}"
        )
    if len(failures) > _LISTED:
        print_lines(f"… and {len(failures) - _LISTED:,} more; fanin status --json lists all.")
    print_lines(_suggest_next(snapshot, folder))


def _make_table(snapshot: Snapshot) -> Table:
    from fanin.report.tables.table import Column, Table, TableEntry

    assert snapshot.plan is not None
    counts = _count_outcomes(snapshot)
    shown = [name for name in _OUTCOMES if any(group[name] for group in counts.values())]
    rows = [
        (
            TableEntry(f"{model} · {data}"),
            TableEntry(f"{_count_done(group):,}/{group.total():,}"),
            *(TableEntry(f"{group[name]:,}") for name in shown),
        )
        for (model, data), group in counts.items()
    ]
    total = _sum_counts(counts)
    return Table(
        title=f"{snapshot.plan.study}: {_count_done(total):,} of {total.total():,} cells done",
        columns=(
            Column("group", "model · data", numeric=False),
            Column("done", "done"),
            *(Column(name, name) for name in shown),
        ),
        rows=tuple(rows),
    )


def _describe_activity(snapshot: Snapshot) -> str:
    from fanin.report.escaping import escape_invisible

    if snapshot.holder is None:
        return "Not running."
    lines = [f"Running: {escape_invisible(snapshot.holder)}."]
    if snapshot.progress:
        lines += [
            f"  {escape_invisible(c.description)}: epoch {c.epoch} of at most {c.epochs}"
            for c in snapshot.progress.running
        ]
        if snapshot.progress.eta is not None:
            lines.append(f"About {format_duration(snapshot.progress.eta)} to go.")
    return "\n".join(lines)


def _suggest_next(snapshot: Snapshot, folder: Path) -> str:
    from fanin.report.escaping import escape_invisible

    total = _sum_counts(_count_outcomes(snapshot))
    if snapshot.holder is not None:
        return f"Next: wait, or look again: fanin status {escape_invisible(folder)}"
    if total["missing"] or total["failed"] or total["killed"]:
        retried = (
            " and tries failed and killed ones once more"
            if total["failed"] or total["killed"]
            else ""
        )
        return f"Next: the same fanin run command again trains what is missing{retried}."
    return f"Next: fanin report {escape_invisible(folder)}"


def _count_outcomes(snapshot: Snapshot) -> dict[tuple[str, str], Counter[str]]:
    """Planned cells by outcome for each (model, data), in the order of the plan."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for planned, result in snapshot.planned_results:
        group = tuple(
            planned.labels.get(axis, str(getattr(planned.cell, axis))) for axis in ("model", "data")
        )
        found.setdefault((group[0], group[1]), Counter())[
            result.outcome if result else "missing"
        ] += 1
    return found


def _sum_counts(counts: dict[tuple[str, str], Counter[str]]) -> Counter[str]:
    return sum(counts.values(), Counter())


def _count_done(counts: Counter[str]) -> int:
    return counts["ok"] + counts["diverged"]


def _list_failures(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    """(what, outcome, message) of each planned cell that failed or was killed."""
    return [
        (
            f"{p.cell.model} on {p.cell.data}, {p.labels.get('initializer', p.cell.initializer)}, "
            f"replicate {p.cell.replicate}",
            result.outcome,
            result.message,
        )
        for p, result in snapshot.planned_results
        if result is not None and result.outcome in ("failed", "killed")
    ]


def _get_last_line(message: str) -> str:
    lines = message.strip().splitlines() or ["no message"]
    return lines[-1][:_MESSAGE]
