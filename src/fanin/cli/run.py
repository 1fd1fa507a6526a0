"""``fanin run``: train what a study lacks, and show its results."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanin.cell.cell import OWN
from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.cli.json_option import JsonOption
from fanin.cli.reference_option import ReferenceOption
from fanin.errors import UsageError

if TYPE_CHECKING:
    from fanin.cell.plan import PlannedCell
    from fanin.execution.observer import Observer
    from fanin.experiment import Estimate
    from fanin.report.results import Results
    from fanin.study.study import Study

PUBLISHED_EPOCHS = "19.9 of 50"
"""Mean over the 54 cells of the published case study."""

_MOST_LISTED = 200
_MAIN_AXES = ("model", "data", "initializer")

_Study = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A built-in study (fanin list studies) or a TOML file."),
]
_Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Results folder; runs/<study> by default."),
]
_Replicates = Annotated[
    int | None,
    typer.Option("--replicates", metavar="N", help="Replicates, instead of the study's number."),
]
_Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KEY=VALUE,…",
        help="Only cells with these values: data=mnist,cifar10,model=mlp. A value without a key "
        "belongs to the key before it. --only may be repeated.",
    ),
]
_Add = Annotated[
    list[str] | None,
    typer.Option(
        "--add",
        metavar="KEY=VALUE,…",
        help="Also train these values of an axis: initializer=my_init.py:make. The cells of the "
        "study itself stay the same. --add may be repeated.",
    ),
]
_MaxEpochs = Annotated[
    int | None,
    typer.Option(
        "--max-epochs",
        metavar="N",
        help="The most epochs of a cell. Such cells are stored beside the study's own.",
    ),
]
_Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="The metric that table, differences and tuning look at, such as loss or accuracy, "
        "instead of the main one.",
    ),
]
_Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Worker processes; by default one per usable core, on a GPU one.",
    ),
]
_Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="A torch device, such as cpu or cuda.")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List the cells and estimate the time; train nothing.")
]
_SaveWeights = Annotated[
    bool, typer.Option("--save-weights", help="Keep each cell's initial and best weights.")
]
_Signals = Annotated[
    bool,
    typer.Option(
        "--signals",
        help="Also measure signals, gradients and updates of each layer, once per epoch. Such "
        "cells are stored beside the study's own, with the same numbers otherwise.",
    ),
]
_Figures = Annotated[bool, typer.Option("--figures", help="Also draw one figure per cell.")]
_Tracker = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="NAME:PLACE",
        help="Also write a run per cell while it trains: tensorboard:FOLDER, mlflow:URI or mlflow. "
        "--tracker may be repeated.",
    ),
]
_AcceptChanged = Annotated[
    bool,
    typer.Option(
        "--accept-changed",
        help="Complete blocks that were begun on another machine or version, or with data that "
        "have changed since; by default their cells are trained again.",
    ),
]
_CheckpointInterval = Annotated[
    float,
    typer.Option(
        "--checkpoint-interval",
        metavar="SECONDS",
        help="The least time between two checkpoints of a cell.",
    ),
]
_Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="A cell whose epoch takes longer counts as hung, and is tried once more.",
    ),
]
_Fast = Annotated[
    bool,
    typer.Option(
        "--fast", help="For claims only: shortened trainings, whose verdicts do not count."
    ),
]


def run(
    context: typer.Context,
    study: _Study,
    out: _Out = None,
    replicates: _Replicates = None,
    only: _Only = None,
    add: _Add = None,
    max_epochs: _MaxEpochs = None,
    metric: _Metric = None,
    reference: ReferenceOption = None,
    workers: _Workers = None,
    device: _Device = "cpu",
    dry_run: _DryRun = False,
    save_weights: _SaveWeights = False,
    signals: _Signals = False,
    figures: _Figures = False,
    tracker: _Tracker = None,
    accept_changed: _AcceptChanged = False,
    checkpoint_interval: _CheckpointInterval = 10.0,
    timeout: _Timeout = 1800.0,
    fast: _Fast = False,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Train what a study lacks, and show its results.

    Missing data sets are downloaded first. At the end the table is printed, and a page, curves and
    tables are written into the results folder. Run the same command again to continue after a stop:
    finished cells are kept, failed and killed ones are tried once more. Ctrl-C stops cleanly.

    \b
    Examples:
      fanin run quick
      fanin run case-study --dry-run
      fanin run case-study --only data=mnist,fashion-mnist,model=mlp
      fanin run quick --add initializer=my_init.py:make
      fanin run my_study.toml --out runs/mine --workers 4
      fanin run claims --only claim=he-relu

    \b
    Exit codes: 0 done · 1 some cells failed · 2 usage · 3 store corrupt, locked
    or full · 4 data missing or damaged · 130 / 143 interrupted
    """
    from fanin import experiment
    from fanin.cli import claims_run
    from fanin.cli.only_option import parse_only

    if study == claims_run.NAME:
        if dry_run:
            return claims_run.list_work(only)
        return claims_run.run_claims(only, out, fast=fast, workers=workers, device=device)
    if fast:
        raise UsageError("--fast is for fanin run claims; a study takes --max-epochs.")
    options: dict[str, Any] = {
        "replicates": replicates,
        "only": parse_only(only or ()),
        "max_epochs": max_epochs,
        "workers": workers,
        "signals": signals,
        "accept_changed": accept_changed,
    }
    to_run = _load_to_run(study, add, metric, reference)
    if dry_run:
        from fanin.execution.process_settings import tune_process

        tune_process()  # as in a worker: this process does nothing else
        return _estimate_to_output(experiment.estimate(to_run, out, **options))
    results = experiment.run(
        to_run,
        out,
        device=device,
        save_weights=save_weights,
        checkpoint_interval=checkpoint_interval,
        timeout=timeout,
        observer=_open_observer(tracker or []),
        command=format_command(context),
        **options,
    )
    assert results.out is not None
    return _results_to_output(results, shorten(results.out), figures)


def _load_to_run(
    study: str, add: list[str] | None, metric: str | None, reference: str | None
) -> Study | str:
    from fanin import experiment

    to_run = _add_values(study, add) if add else study
    if metric is None and reference is None:
        return to_run
    return experiment.load_study(to_run).override(metric=metric, reference=reference)


def _open_observer(trackers: list[str]) -> Observer:
    """The display of progress, and the trackers beside it."""
    from fanin.progress.progress_display import ProgressDisplay

    if not trackers:
        return ProgressDisplay()
    from fanin.report.trackers import TrackingObserver, open_tracker

    return TrackingObserver(ProgressDisplay(), [open_tracker(spec) for spec in trackers])


def format_command(context: typer.Context) -> str:
    """The command line as it was given, which continues the study from the same folder."""
    return shlex.join(["fanin", *(word for word in context.obj if word != "--json")])


def _add_values(name: str, add: list[str]) -> Study:
    from fanin import experiment
    from fanin.cli.only_option import parse_only
    from fanin.study.added_values import read_added_value

    values = {
        axis: [read_added_value(axis, text) for text in texts]
        for axis, texts in parse_only(add, "--add").items()
    }
    return experiment.load_study(name).add(values)


def shorten(folder: Path) -> Path:
    """The folder relative to the working directory, if it lies below."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _results_to_output(results: Results, folder: Path, figures: bool) -> CommandOutput:
    from fanin.cli.written_files import to_output, write_files

    summary = results.run_summary
    assert summary is not None
    files = write_files(results, folder, each_cell=figures)
    for problem in summary.problems:
        print_to_stderr(f"Error: {problem}")
    if summary.counts.get("failed") or summary.counts.get("killed"):
        print_to_stderr(f"Some cells failed. See which and why: fanin status {folder}")
    done = f"All {len(results.plan.cells):,} cells are done already; nothing was trained."
    return to_output(
        results,
        files,
        first="" if summary.trained else done,
        exit_code=summary.exit_code,
        trained=summary.trained,
        problems=list(summary.problems),
        folder=str(folder),
    )


def _estimate_to_output(estimate: Estimate) -> CommandOutput:
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
        print_lines(
            f"Before them {len(estimate.trials):,} trainings tune the learning rate; more if the "
            "best lies at the grid's edge."
        )
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

    workers = f"{estimate.workers} {'workers' if estimate.workers > 1 else 'worker'}"
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
