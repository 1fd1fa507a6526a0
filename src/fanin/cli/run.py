"""``fanin run``: train what a study lacks and show what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanin.cli.command_output import CommandOutput, JsonOption, print_lines, print_to_stderr
from fanin.cli.remaining_time import format_duration

if TYPE_CHECKING:
    from fanin.cell.cell import Cell
    from fanin.cell.plan import Plan
    from fanin.execution.runner import RunSummary

PUBLISHED_EPOCHS = "19.9 of 50"
"""Mean over the 54 cells of the published case study."""

_MOST_LISTED = 200
_SHOWN = ("model", "data", "initializer")


def run(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A built-in study (fanin list studies) or a TOML file."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Results folder; runs/<study> by default."),
    ] = None,
    replicates: Annotated[
        int | None,
        typer.Option(
            "--replicates", metavar="N", help="Replicates, instead of the study's own number."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="KEY=VALUE,…",
            help="Only cells with these values: data=mnist,cifar10,model=mlp. A value without a "
            "key belongs to the key before "
            "it; --only may be repeated.",
        ),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option(
            "--max-epochs", metavar="N", help="Epochs at most; makes other cells, kept apart."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Processes that train; by default one per core, on a GPU one.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="A torch device, such as cpu or cuda.")
    ] = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and estimate the time; train nothing.")
    ] = False,
    save_weights: Annotated[
        bool, typer.Option("--save-weights", help="Keep each cell's initial and best weights.")
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Draw one figure per cell too.")
    ] = False,
    accept_changed: Annotated[
        bool,
        typer.Option(
            "--accept-changed",
            help="Complete comparisons that another machine or version began; else they start anew.",
        ),
    ] = False,
    checkpoint_interval: Annotated[
        float,
        typer.Option(
            "--checkpoint-interval",
            metavar="SECONDS",
            help="Time at least between two checkpoints of a cell.",
        ),
    ] = 10.0,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", help="A cell whose epoch takes longer counts as hung."
        ),
    ] = 1800.0,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Train what a study lacks, and show the results.

    Data that are not there are downloaded. At the end the table is printed, and a page, curves and
    tables are written into the results folder. The same command again continues where it stopped:
    finished cells are kept, those that failed or were killed are tried once more. Ctrl-C stops
    cleanly.

    \b
    Examples:
      fanin run quick
      fanin run case-study --dry-run
      fanin run case-study --only data=mnist,fashion-mnist,model=mlp
      fanin run my_study.toml --out runs/mine --workers 4

    \b
    Exit codes: 0 done · 1 some cells failed · 2 usage · 3 store corrupt, locked
    or full · 4 data missing or damaged · 130 / 143 interrupted
    """
    from fanin import experiment
    from fanin.cli import only_option

    loaded = experiment.load_study(study)
    plan = experiment.make_plan(
        loaded,
        replicates=replicates,
        only=only_option.parse_only(only or ()),
        max_epochs=max_epochs,
    )
    folder = out or Path("runs") / plan.study
    if dry_run:
        return _estimate(
            plan,
            experiment.stages(loaded, plan, folder, max_epochs=max_epochs),
            folder,
            workers,
            accept_changed,
        )
    options = {
        "workers": workers,
        "device": device,
        "save_weights": save_weights,
        "accept_changed": accept_changed,
        "checkpoint_interval": checkpoint_interval,
        "timeout": timeout,
    }
    return _outcome(
        _trained(experiment.stages(loaded, plan, folder, max_epochs=max_epochs), folder, options),
        folder,
        figures,
    )


def _trained(stages: Iterator[Plan], folder: Path, options: dict[str, Any]) -> RunSummary:
    """Tune where the study does, then train the plan, each with its progress shown."""
    from fanin import experiment
    from fanin.cli import progress
    from fanin.execution.runner import run_plan

    trained = 0
    for stage in stages:
        todo = experiment.pending(stage, folder, accept_changed=options["accept_changed"])
        _fetch(todo)
        with progress.show_training(todo, _labels(stage)) as on_event:
            summary = run_plan(stage, folder, on_event=on_event, **options)
        trained += summary.trained
    return replace(summary, trained=trained)


def _fetch(cells: Sequence[Cell]) -> None:
    """Download what is missing of the cells' data, with its progress shown."""
    from fanin import experiment
    from fanin.cli import download_progress

    with download_progress.show_downloads() as on_download:
        experiment.fetch_data(cells, on_download=on_download)


def _labels(plan: Plan) -> dict[str, str]:
    """What progress calls each cell besides its model and its data: its initializer, and whatever
    else varies.
    """
    found = {}
    for planned in plan.cells:
        further = [label for axis, label in planned.labels.items() if axis not in _SHOWN]
        found[planned.cell.id] = " · ".join(
            [planned.labels.get("initializer", planned.cell.initializer), *further]
        )
    return found


def _outcome(summary: RunSummary, folder: Path, figures: bool) -> CommandOutput:
    from fanin import experiment
    from fanin.cli import written_files

    results = experiment.load_results(folder)
    files = written_files.write_files(results, folder, each_cell=figures)
    if summary.exit_code:
        print_to_stderr(f"Some cells failed: fanin status {folder} says which and why.")
    return written_files.to_output(
        results,
        files,
        first=""
        if summary.trained
        else f"All {len(results.plan.cells):,} cells are done already; nothing was trained.",
        exit_code=summary.exit_code,
        trained=summary.trained,
        folder=str(folder),
    )


def _estimate(
    plan: Plan, stages: Iterator[Plan], folder: Path, workers: int | None, accept_changed: bool
) -> CommandOutput:
    """The cells that would be trained, and how long that may take: those of the evaluation, after
    those that tune it.
    """
    from fanin import data, experiment
    from fanin.execution import estimate, process_settings
    from fanin.execution.executors import count_usable_cores

    for stage in stages:  # the first with anything to do; the last where there is none
        if experiment.pending(stage, folder, accept_changed=accept_changed):
            break
    tunes = stage.is_tuning
    plan = plan if tunes else stage
    todo = [cell.id for cell in experiment.pending(plan, folder, accept_changed=accept_changed)]
    cells = [planned.cell for planned in plan.cells if planned.cell.id in set(todo)]
    trials = experiment.pending(stage, folder, accept_changed=accept_changed) if tunes else ()
    cells += trials
    processes = workers if workers is not None else count_usable_cores()
    process_settings.tune_process()  # as workers do; this process has nothing else to do
    paces = estimate.measure_paces(cells) if cells else {}
    seconds = estimate.bound_seconds(
        cells, paces, {cell.data: data.describe(cell.data) for cell in cells}, processes
    )
    listed = [
        {
            "id": p.cell.id,
            "cell": p.cell.to_json(),
            "labels": dict(p.labels),
            "done": p.cell.id not in todo,
        }
        for p in plan.cells
    ]
    record = {
        "study": plan.study,
        "folder": str(folder),
        "cells": listed,
        "to_train": len(cells),
        "tuning": len(trials),
        "workers": processes,
        "seconds_at_most": round(seconds, 1),
    }
    return CommandOutput(
        record, lambda: _show_estimate(plan, set(todo), len(trials), processes, seconds)
    )


def _show_estimate(plan: Plan, todo: set[str], trials: int, workers: int, seconds: float) -> None:
    from fanin.report.escaping import visible
    from fanin.report.tables.text_table import paragraph

    print_lines(
        f"{visible(plan.study)}: {len(plan.cells):,} cells, {len(todo):,} of them to be trained "
        "(nothing is trained now)"
    )
    if trials:
        print_lines(
            f"Before them {trials:,} trainings tune the learning rate; more where the best lies at "
            "the grid's edge."
        )
    print_lines("")
    for planned in plan.cells[:_MOST_LISTED]:
        cell = planned.cell
        words = [planned.labels.get(axis, str(getattr(cell, axis))) for axis in _SHOWN]
        extra = [f"{axis}={label}" for axis, label in planned.labels.items() if axis not in _SHOWN]
        done = "" if cell.id in todo else "  done"
        print_lines(
            visible("  " + " · ".join([*words, *extra, f"replicate {cell.replicate}"]) + done)
        )
    if len(plan.cells) > _MOST_LISTED:
        print_lines(f"  … and {len(plan.cells) - _MOST_LISTED:,} more; --json lists all.")
    print_lines("")
    for note in plan.notes:
        print_lines(paragraph(visible(note), 80, "- "))
    if todo:
        on = f"{workers} {'workers' if workers > 1 else 'worker'}"
        text = (
            f"At most about {format_duration(seconds)} on {on}, if every cell runs all its epochs (steps "
            "measured here, alone, on "
            "random data). Early stopping usually ends sooner: the cells of the published case "
            f"study ran {PUBLISHED_EPOCHS} "
            f"epochs on average."
        )
        print_lines(["", *paragraph(text, 80)])
