"""``fanin compare``: one's own initializer against the stored results of a study's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.cli.json_option import JsonOption
from fanin.cli.metric_option import MetricOption
from fanin.cli.training_options import (
    DeviceOption,
    WorkersOption,
    declare_dry_run,
    declare_out,
    declare_replicates,
    declare_selection,
    describe_trials,
    describe_workers,
    format_command,
    shorten,
)

if TYPE_CHECKING:
    from fanin.newcomer_run import NewcomerEstimate
    from fanin.report.standing import Standing

_Newcomer = Annotated[
    str,
    typer.Argument(
        metavar="INITIALIZER",
        help="Your own, as my_init.py:MyInit, or one of fanin list initializers with its options.",
    ),
]
_Against = Annotated[
    str,
    typer.Option(
        "--against",
        metavar="STUDY",
        help="The study whose initializers it is compared with: a built-in one (fanin list "
        "studies) or a TOML file.",
    ),
]
_Only = Annotated[
    list[str] | None,
    declare_selection(
        "--only",
        "Only cells with these values, such as data=digits. initializer=he_normal,zero names the "
        "baselines to compare with.",
    ),
]
_Replicates = Annotated[
    int | None, declare_replicates("At most N replicates; by default all of the baselines'.")
]
_Baselines = Annotated[
    Path | None,
    typer.Option(
        "--baselines",
        metavar="PATH",
        help="A results folder or a .jsonl file with the study's results, instead of those that "
        "come with a built-in study, or of runs/<study>.",
    ),
]
_Out = Annotated[Path | None, declare_out("runs/compare-<study>")]
_Retrain = Annotated[
    bool,
    typer.Option(
        "--retrain",
        help="Train the baselines that are from another machine or version here too, so that all "
        "runs are paired. --dry-run says what that costs.",
    ),
]
_DryRun = Annotated[
    bool, declare_dry_run("Say what would be trained, and how long it takes; no more.")
]


def compare(
    context: typer.Context,
    initializer: _Newcomer,
    against: _Against,
    only: _Only = None,
    replicates: _Replicates = None,
    metric: MetricOption = None,
    baselines: _Baselines = None,
    out: _Out = None,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    retrain: _Retrain = False,
    dry_run: _DryRun = False,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Train your initializer on a study's cells, and compare it with theirs.

    The study's initializers are the baselines. Their results are stored, so only yours is trained:
    with the same seeds, batches and tuning of the learning rate. The verdict against each baseline
    comes with an interval and a corrected p. Run the same command again to continue after a stop.

    fanin audit --compare is another thing: it ranks initializers for one model without training.

    \b
    Examples:
      fanin compare my_init.py:MyInit --against quick
      fanin compare my_init.py:MyInit --against depth --only model.depth=16 --dry-run
      fanin compare lecun_normal --against depth --only activation=tanh --retrain
      fanin compare my_init.py:MyInit --against my_study.toml --baselines runs/mine

    \b
    Exit codes: 0 done · 1 some cells failed · 2 usage, or no baselines · 3 store
    corrupt, locked or full · 4 data missing or damaged · 130 / 143 interrupted
    """
    from fanin import newcomer_run
    from fanin.cli.only_option import parse_only
    from fanin.progress.progress_display import ProgressDisplay

    options: dict[str, Any] = {
        "only": parse_only(only or ()),
        "replicates": replicates,
        "metric": metric,
        "baselines": baselines,
        "out": out,
        "workers": workers,
        "device": device,
        "retrain": retrain,
    }
    if dry_run:
        from fanin.execution.process_settings import tune_process

        tune_process()  # as in a worker: this process does nothing else
        return _estimate_to_output(newcomer_run.estimate_newcomer(initializer, against, **options))
    comparison = newcomer_run.compare(
        initializer,
        against,
        observer=ProgressDisplay(),
        command=format_command(context),
        **options,
    )
    return _comparison_to_output(comparison)


def _comparison_to_output(comparison: Standing) -> CommandOutput:
    from fanin.cli.written_files import list_places, write_files

    results = comparison.results
    assert results.out is not None
    assert results.run_summary is not None
    summary, folder = results.run_summary, shorten(results.out)
    written = write_files(results.compare_with(comparison.newcomer), folder)
    files = {**_write_comparison(comparison, folder), **written.paths}
    for problem in (*summary.problems, *map(str, written.errors)):
        print_to_stderr(f"Error: {problem}")
    errors = [error.exit_code for error in written.errors]
    record = {
        **comparison.to_json(),
        "outcomes": results.outcomes,
        "trained": summary.trained,
        "problems": list(summary.problems),
        "folder": str(folder),
        "files": files,
    }

    def show() -> None:
        from fanin.report.tables.terminal import print_table

        print_table(comparison.table())
        print_lines(["", *list_places(files)])

    exit_code = summary.exit_code or next(iter(errors), 0)
    return CommandOutput(record, show, exit_code, has_effect=True)


def _write_comparison(comparison: Standing, folder: Path) -> dict[str, str]:
    """Write the verdicts as Markdown, and the differences at full precision."""
    from fanin import atomic
    from fanin.report.tables.documents import to_markdown

    texts = {
        "comparison": (folder / "comparison.md", to_markdown(comparison.table())),
        "comparison_csv": (folder / "comparison.csv", comparison.frame().to_csv(index=False)),
    }
    return {name: str(atomic.write(path, text)) for name, (path, text) in texts.items()}


def _estimate_to_output(estimate: NewcomerEstimate) -> CommandOutput:
    record = {**vars(estimate), "folder": str(estimate.folder)}
    record |= {name: round(record[name], 1) for name in ("retraining_seconds", "seconds_at_most")}
    return CommandOutput(record, lambda: _show_estimate(estimate))


def _show_estimate(estimate: NewcomerEstimate) -> None:
    from fanin.progress.remaining_time import format_duration
    from fanin.report.escaping import escape_invisible
    from fanin.report.tables.text_table import wrap_paragraph

    said = [
        f"{estimate.newcomer} against {estimate.study}: {estimate.newcomer_cells:,} cells beside "
        f"{estimate.baselines:,} baselines ({estimate.source}); {estimate.to_train:,} to train "
        "(nothing is trained now).",
    ]
    if estimate.trials:
        said.append(describe_trials(estimate.trials))
    workers = describe_workers(estimate.workers)
    if estimate.elsewhere:
        seconds = format_duration(estimate.retraining_seconds / estimate.workers)
        count = (
            f"{estimate.elsewhere:,} baselines were trained in another environment "
            f"({estimate.differences})"
        )
        said.append(
            f"{count} and are trained again here, which took {seconds} there on {workers}."
            if estimate.retraining
            else f"{count}: they are compared as independent groups, without pairs. --retrain "
            f"trains them here too, which took {seconds} there on {workers}."
        )
    else:
        said.append("All runs are paired: they are from one environment.")
    if estimate.seconds_at_most:
        said.append(
            f"At most about {format_duration(estimate.seconds_at_most)} on {workers}, if every "
            "cell runs all its epochs. Early stopping usually ends sooner."
        )
    for paragraph in said:
        print_lines(wrap_paragraph(escape_invisible(paragraph), 80))
