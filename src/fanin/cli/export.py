"""``fanin export``: the table or the results of a study, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin import atomic
from fanin.cli.command_output import CommandOutput, print_to_stderr
from fanin.cli.json_option import JsonOption
from fanin.cli.metric_option import MetricOption
from fanin.cli.reference_option import ReferenceOption
from fanin.garbage_collection import pause_garbage_collection


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results folder, such as runs/quick.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="csv, csv-cells, differences, jsonl, latex or markdown; or, for a tracker, "
            "tensorboard or mlflow.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write; by default standard output. For tensorboard, the folder.",
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            "--tracking-uri",
            metavar="URI",
            help="For mlflow: where its runs are, such as sqlite:///mlflow.db; by default MLflow's "
            "own choice.",
        ),
    ] = None,
    metric: MetricOption = None,
    reference: ReferenceOption = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Export the table or the results of a study.

    csv has a row per condition, csv-cells a row per cell, differences a row per compared value with
    its difference from the reference, all at full precision. markdown and latex are the tables as
    printed. jsonl holds complete results, for version control and for fanin store merge.
    tensorboard and mlflow get one run per cell: parameters, every epoch, final metrics.

    \b
    Examples:
      fanin export runs/quick --to latex
      fanin export runs/quick --to jsonl --output results/quick.jsonl
      fanin export runs/quick --to tensorboard --output logs
      fanin export runs/quick --to mlflow --tracking-uri sqlite:///mlflow.db

    \b
    Exit codes: 0 exported · 2 no results, or nowhere to write · 3 store corrupt
    """
    from fanin.report.export_formats import FORMATS, TRACKERS, check_format

    form = check_format(to, (*FORMATS, *TRACKERS))
    if form in TRACKERS:
        return _export_runs(folder, form, str(output) if output else tracking_uri)
    is_whole = form == "jsonl"
    text = _export_results(folder) if is_whole else _export_table(folder, form, metric, reference)
    if output is None:
        return CommandOutput({"format": form, "text": text}, lambda: print(text, end=""))

    path = atomic.write(output, text, create_parent=True)
    return CommandOutput(
        {"format": form, "file": str(path)},
        lambda: print_to_stderr(f"Written: {path}"),
        has_effect=True,
    )


def _export_runs(folder: Path, form: str, place: str | None) -> CommandOutput:
    from fanin.report import trackers
    from fanin.report.stored_results import load_results

    tracker = trackers.open_tracker(f"{form}:{place or ''}")
    count = trackers.export_results(load_results(folder), tracker)
    where = tracker.describe_place()
    return CommandOutput(
        {"format": form, "runs": count, "show": where},
        lambda: print_to_stderr(f"Written: {count:,} runs. To see them: {where}"),
        has_effect=True,
    )


@pause_garbage_collection()
def _export_table(folder: Path, form: str, metric: str | None, reference: str | None) -> str:
    from fanin.report.stored_results import load_results

    results = load_results(folder, histories=False)
    return results.rank_by(metric).compare_with(reference).export(form)


@pause_garbage_collection()
def _export_results(folder: Path) -> str:
    from fanin.store import jsonl, results_store

    return jsonl.to_text(results_store.read(folder).results.values())
