"""The files that show a study's results, and the output that says where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.errors import FaninError, OutputError, StoreFull

if TYPE_CHECKING:
    from fanin.report.results import Results


@dataclass(frozen=True)
class WrittenFiles:
    """The files that show a study's results."""

    paths: dict[str, str]
    """By name: page, curves, csv, …"""
    errors: tuple[FaninError, ...]
    """Why others could not be written."""


def write_files(results: Results, folder: Path, *, each_cell: bool = False) -> WrittenFiles:
    """Write page, curves, tables and figures into a folder, and a figure of each cell on request.

    A file that cannot be written does not keep the others from being written; an error is raised
    if none can be.
    """
    files: dict[str, str] = {}
    errors: list[FaninError] = []

    def attempt(write: Callable[[], dict[str, Path]]) -> None:
        try:
            files.update({name: str(path) for name, path in write().items()})
        except (OutputError, StoreFull) as error:
            errors.append(error)

    attempt(lambda: {"page": results.report(folder / "report.html")})
    attempt(lambda: {"curves": results.curves(folder / "curves.png")})
    attempt(lambda: {"overlay": results.overlay(folder / "overlay.png")})
    attempt(lambda: _export(results, "csv", folder / "table.csv"))
    attempt(lambda: _export(results, "markdown", folder / "table.md"))
    attempt(lambda: _export(results, "differences", folder / "differences.csv"))
    attempt(
        lambda: {f"figure_{number}": path for number, path in enumerate(results.figures(folder), 1)}
    )
    if each_cell:
        attempt(lambda: _draw_cells(results, folder / "figures"))
    if errors and not files:
        raise errors[0]
    return WrittenFiles(files, tuple(errors))


def _export(results: Results, kind: str, path: Path) -> dict[str, Path]:
    results.export(kind, path)
    return {kind: path}


def _draw_cells(results: Results, folder: Path) -> dict[str, Path]:
    for planned in results.plan.cells:
        results.cell_curves(planned.cell.id, folder / f"{planned.cell.id}.png")
    return {"figures": folder}


def to_output(
    results: Results, written: WrittenFiles, *, first: str = "", exit_code: int = 0, **facts: Any
) -> CommandOutput:
    """The table, and where the files are.

    Args:
        results: the results to show.
        written: from `write_files`.
        first: a line to print before the table.
        exit_code: the command's exit code; 0 becomes that of a file that could not be written.
        facts: further entries of the JSON object.
    """
    for error in written.errors:
        print_to_stderr(f"Error: {error}")
        exit_code = exit_code or error.exit_code
    record = {
        "study": results.plan.study,
        "outcomes": results.outcomes,
        **facts,
        "verdict": results.verdict().to_json(),
        "table": results.table().to_json(),
        "files": written.paths,
    }

    def show() -> None:
        from fanin.cli.comparison_output import show_differences
        from fanin.cli.training_options import shorten
        from fanin.report.tables.difference_table import MOST_ROWS
        from fanin.report.tables.terminal import print_table

        place = shorten(results.out) if results.out else "DIR"
        if first:
            print_lines([first, ""])
        print_table(results.table())
        show_differences(
            results,
            MOST_ROWS,
            lambda count: (
                f"{count:,} differences from the reference: fanin status {place} --differences"
            ),
        )
        print_lines(["", *list_places(written.paths)])

    return CommandOutput(record, show, exit_code, has_effect=True)


def list_places(files: dict[str, str]) -> list[str]:
    from fanin.report.escaping import escape_invisible

    words = {
        "page": "Page",
        "curves": "Curves",
        "overlay": "Curves",
        "comparison": "Verdicts",
        "comparison_csv": "Verdicts",
        "csv": "Table",
        "markdown": "Table",
        "differences": "Table",
        "figures": "Each cell",
    }
    return [
        f"{words.get(name, 'Figure') + ':':<10} {escape_invisible(path)}"
        for name, path in files.items()
    ]
