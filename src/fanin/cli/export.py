"""``fanin export``: the table or the results of a study, as text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fanin import atomic
from fanin.cli.command_output import CommandOutput, JsonOption, print_to_stderr


class Format(StrEnum):
    """The values of ``--to``."""

    CSV = "csv"
    CSV_CELLS = "csv-cells"
    JSONL = "jsonl"
    LATEX = "latex"
    MARKDOWN = "markdown"


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results folder, such as runs/quick.")
    ],
    to: Annotated[
        Format,
        typer.Option("--to", metavar="FORMAT", help="csv, csv-cells, jsonl, latex or markdown."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write; by default standard output."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Export the table or the results of a study.

    csv has a row per condition, csv-cells a row per cell, both at full precision. markdown and
    latex are the table as printed. jsonl holds complete results, for version control and for fanin
    store merge.

    \b
    Examples:
      fanin export runs/quick --to latex
      fanin export runs/quick --to jsonl --output results/quick.jsonl

    \b
    Exit codes: 0 exported · 2 no results, or nowhere to write · 3 store corrupt
    """
    text = _export_results(folder) if to is Format.JSONL else _export_table(folder, to)
    if output is None:
        return CommandOutput({"format": to.value, "text": text}, lambda: print(text, end=""))

    path = atomic.write(output, text, create_parent=True)
    return CommandOutput(
        {"format": to.value, "file": str(path)},
        lambda: print_to_stderr(f"Written: {path}"),
        has_effect=True,
    )


def _export_table(folder: Path, to: Format) -> str:
    from fanin.experiment import load_results

    return load_results(folder).export(to.value)


def _export_results(folder: Path) -> str:
    from fanin.store import jsonl, results_store

    return jsonl.to_text(results_store.read(folder).results.values())
