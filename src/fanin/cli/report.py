"""``fanin report``: write page, curves and tables from stored results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.cli.command_output import CommandOutput
from fanin.cli.json_option import JsonOption
from fanin.cli.metric_option import MetricOption
from fanin.cli.reference_option import ReferenceOption
from fanin.errors import UsageError


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help="Results folders; several are shown as one study."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            help="The folder to write to; by default DIR. Required with several.",
        ),
    ] = None,
    metric: MetricOption = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw one figure per cell.")
    ] = False,
    reference: ReferenceOption = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Show stored results: the table, page and curves.

    Prints the table, and writes page, curves and tables. Nothing is trained. Works while the study
    runs.

    \b
    Examples:
      fanin report runs/quick
      fanin report runs/a runs/b --output runs/both

    \b
    Exit codes: 0 written · 2 no results, or nowhere to write · 3 store corrupt
    """
    from fanin import experiment
    from fanin.cli import written_files

    if output is None and len(folders) > 1:
        raise UsageError(
            "Several folders are shown as one study. Give the folder to write to: --output DIR."
        )
    results = experiment.load_results(*folders).rank_by(metric).compare_with(reference)
    folder = output if output is not None else folders[0]
    return written_files.to_output(
        results, written_files.write_files(results, folder, each_cell=figures), folder=str(folder)
    )
