"""``fanin run``: train what a study lacks, and show its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanin.cli.command_output import CommandOutput, print_to_stderr
from fanin.cli.json_option import JsonOption
from fanin.cli.reference_option import ReferenceOption
from fanin.cli.run_estimate import estimate_to_output
from fanin.cli.training_options import (
    DeviceOption,
    WorkersOption,
    declare_dry_run,
    declare_out,
    declare_replicates,
    declare_selection,
    format_command,
    shorten,
)
from fanin.errors import UsageError

if TYPE_CHECKING:
    from fanin.execution.observer import Observer
    from fanin.report.results import Results
    from fanin.study.study import Study

_Study = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A built-in study (fanin list studies) or a TOML file."),
]
_Out = Annotated[Path | None, declare_out("runs/<study>")]
_Replicates = Annotated[
    int | None, declare_replicates("Replicates, instead of the study's number.")
]
_Only = Annotated[
    list[str] | None,
    declare_selection(
        "--only",
        "Only cells with these values: data=mnist,cifar10,model=mlp. A value without a key belongs "
        "to the key before it.",
    ),
]
_Add = Annotated[
    list[str] | None,
    declare_selection(
        "--add",
        "Also train these values of an axis: initializer=my_init.py:make. The cells of the study "
        "itself stay the same.",
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
_DryRun = Annotated[bool, declare_dry_run("List the cells and estimate the time; train nothing.")]
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
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
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
        claims_run.check_options(context)
        if dry_run:
            return claims_run.list_work(only, fast=fast)
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
        return estimate_to_output(experiment.estimate(to_run, out, **options))
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


def _add_values(name: str, add: list[str]) -> Study:
    from fanin import experiment
    from fanin.cli.only_option import parse_only
    from fanin.study.added_values import read_added_value

    values = {
        axis: [read_added_value(axis, text) for text in texts]
        for axis, texts in parse_only(add, "--add").items()
    }
    return experiment.load_study(name).add(values)


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
