"""What ``fanin run --dry-run`` prints: the planned cells, and an estimate of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanin.cell.cell import OWN
from fanin.cli.command_output import CommandOutput, print_lines
from fanin.cli.training_options import describe_trials, describe_workers

if TYPE_CHECKING:
    from fanin.cell.plan import PlannedCell
    from fanin.experiment import Estimate

PUBLISHED_EPOCHS = "19.9 of 50"
"""Mean over the 54 cells of the published case study."""

_MOST_LISTED = 200
_MAIN_AXES = ("model", "data", "initializer")


def estimate_to_output(estimate: Estimate) -> CommandOutput:
    """The planned cells, which of them are to be trained, and how long that takes at most."""
    to_train = {cell.id for cell in estimate.to_train}
    cells = [
        {
            "id": planned.cell.id,
            "cell": planned.cell.to_json(),
            "labels": dict(planned.labels),
            "done": planned.cell.id not in to_train,
        }
        for planned in estimate.plan.cells
    ]
    record = {
        "study": estimate.plan.study,
        "folder": str(estimate.folder),
        "cells": cells,
        "to_train": len(estimate.to_train) + len(estimate.trials),
        "tuning": len(estimate.trials),
        "workers": estimate.workers,
        "seconds_at_most": round(estimate.seconds_at_most, 1),
        "untimed": estimate.untimed,
    }
    return CommandOutput(record, lambda: _show_estimate(estimate))


def _show_estimate(estimate: Estimate) -> None:
    from fanin.report.escaping import escape_invisible
    from fanin.report.tables.text_table import wrap_paragraph

    plan, to_train = estimate.plan, {cell.id for cell in estimate.to_train}
    print_lines(
        f"{escape_invisible(plan.study)}: {len(plan.cells):,} cells, {len(to_train):,} to train "
        "(nothing is trained now)"
    )
    if estimate.trials:
        print_lines(describe_trials(len(estimate.trials)))
    print_lines("")
    for planned in plan.cells[:_MOST_LISTED]:
        done = "" if planned.cell.id in to_train else "  done"
        print_lines(escape_invisible(f"  {_describe_cell(planned)}{done}"))
    if len(plan.cells) > _MOST_LISTED:
        print_lines(f"  … and {len(plan.cells) - _MOST_LISTED:,} more; --json lists all.")
    print_lines("")
    for note in plan.notes:
        print_lines(wrap_paragraph(escape_invisible(note), 80, "- "))
    if to_train:
        print_lines(["", *wrap_paragraph(_describe_time(estimate), 80)])


def _describe_cell(planned: PlannedCell) -> str:
    """model · data · initializer · further axes · replicate."""
    main = [planned.labels.get(axis, str(getattr(planned.cell, axis))) for axis in _MAIN_AXES]
    main = [name for name in main if name != OWN]
    further = [
        f"{axis}={label}" for axis, label in planned.labels.items() if axis not in _MAIN_AXES
    ]
    return " · ".join([*main, *further, f"replicate {planned.cell.replicate}"])


def _describe_time(estimate: Estimate) -> str:
    from fanin.progress.remaining_time import format_duration

    workers = describe_workers(estimate.workers)
    untimed = (
        f"How long {estimate.untimed:,} trainings by your own function take is not known before "
        "the first has ended."
    )
    if estimate.untimed == len(estimate.to_train) + len(estimate.trials):
        return untimed
    return f"{untimed} The others: " * bool(estimate.untimed) + (
        f"At most about {format_duration(estimate.seconds_at_most)} on {workers}, if every cell "
        "runs all its epochs (steps measured here, alone, on random data). Early stopping usually "
        f"ends sooner: the cells of the published case study ran {PUBLISHED_EPOCHS} epochs on "
        "average."
    )
