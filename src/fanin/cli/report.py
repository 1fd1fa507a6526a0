"""``fanin report``: write page, curves and tables from stored results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.cli.command_output import CommandOutput, print_lines
from fanin.cli.json_option import JsonOption
from fanin.cli.metric_option import MetricOption
from fanin.cli.reference_option import ReferenceOption
from fanin.errors import UsageError

if TYPE_CHECKING:
    from fanin.report.compared_stores import ComparedStores


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR",
            help="Results folders; several are compared with the first, or shown as one study if "
            "they are parts of one. Or one file that fanin.watch has written.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            help="The folder to write to; by default DIR. Required with several.",
        ),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="Show several folders as one study.")
    ] = False,
    metric: MetricOption = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw one figure per cell.")
    ] = False,
    reference: ReferenceOption = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Show stored results: the table, page and curves.

    Prints the table, and writes page, curves and tables. Nothing is trained. Works while the study
    runs. Of a training that fanin.watch has watched, it says what the signals show, and writes page
    and figure.

    Several folders are compared with the first: each condition side by side, with the paired
    change, what tells the stores apart, and then each store, on one page. Folders that hold parts
    of one study, no cell twice, are shown as this study.

    \b
    Examples:
      fanin report runs/quick
      fanin report signals.jsonl
      fanin report runs/a runs/b --output runs/both

    \b
    Exit codes: 0 written · 2 no results, or nowhere to write · 3 store corrupt
    """
    from fanin.store.results_folder import check_path

    check_path(folders[0])
    if len(folders) == 1 and folders[0].is_file():
        return _report_signals(folders[0], output)
    from fanin import experiment
    from fanin.cli import written_files

    if output is None and len(folders) > 1:
        raise UsageError(
            "Several folders are shown on one page. Give the folder to write to: --output DIR."
        )
    if len(folders) > 1 and not together:
        stores = _load_comparable(folders)
        if stores is not None:
            return _report_stores(stores, Path(output or ""))
    results = experiment.load_results(*folders).rank_by(metric).compare_with(reference)
    folder = output if output is not None else folders[0]
    return written_files.to_output(
        results, written_files.write_files(results, folder, each_cell=figures), folder=str(folder)
    )


def _load_comparable(folders: list[Path]) -> ComparedStores | None:
    """The stores side by side; None if they are parts of one study, or one of them has no plan."""
    from fanin import experiment

    try:
        stores = experiment.compare_stores(*folders)
    except UsageError:  # also of a folder without results, which loading all together will say
        return None
    return None if stores.comparison.is_one_study else stores


def _report_stores(stores: ComparedStores, folder: Path) -> CommandOutput:
    page = str(stores.report(folder / "report.html"))

    def show() -> None:
        from fanin.report.tables.terminal import print_table

        print_table(stores.table())
        print_lines(["", f"Page:      {page}"])

    record = stores.to_json() | {"folder": str(folder), "files": {"page": page}}
    return CommandOutput(record, show, has_effect=True)


def _report_signals(path: Path, output: Path | None) -> CommandOutput:
    from fanin.report.watched_training import load_signals

    training = load_signals(path)
    place = path if output is None else output / path.name
    files = {
        "page": str(training.report(place.with_suffix(".html"))),
        "figure": str(training.figure(place.with_suffix(".png"))),
    }

    def show() -> None:
        print_lines(_wrap(str(training)))
        print_lines(["", f"Page:      {files['page']}", f"Figure:    {files['figure']}"])

    return CommandOutput(training.to_json() | {"files": files}, show, has_effect=True)


def _wrap(text: str) -> list[str]:
    from fanin.report.tables.text_table import wrap_paragraph

    lines: list[str] = []
    for line in text.split("\n"):
        bullet = "- " if line.startswith("- ") else ""
        lines += wrap_paragraph(line.removeprefix(bullet), 80, bullet) if line else [""]
    return lines
