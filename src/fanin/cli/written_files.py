"""The files that show a study's results, and the output that says where they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.cli.command_output import CommandOutput, print_lines

if TYPE_CHECKING:
    from fanin.report.results import Results


def write_files(results: Results, folder: Path, *, each_cell: bool = False) -> dict[str, str]:
    """Write page, curves, tables and figures into a folder, and a figure of each cell on request;
    returns name → path.
    """
    table = folder / "table"
    files = {
        "page": results.report(folder / "report.html"),
        "curves": results.curves(folder / "curves.png"),
        "csv": table.with_suffix(".csv"),
        "markdown": table.with_suffix(".md"),
    }
    for kind in ("csv", "markdown"):
        results.export(kind, files[kind])
    files |= {f"figure_{number}": path for number, path in enumerate(results.figures(folder), 1)}
    if each_cell:
        files["figures"] = folder / "figures"
        for planned in results.plan.cells:
            results.cell_curves(planned.cell.id, files["figures"] / f"{planned.cell.id}.png")
    return {name: str(path) for name, path in files.items()}


def to_output(
    results: Results, files: dict[str, str], *, first: str = "", exit_code: int = 0, **facts: Any
) -> CommandOutput:
    """The table, and where the files are.

    Args:
        results: the results to show.
        files: name → path, from `write_files`.
        first: a line to print before the table.
        exit_code: the command's exit code.
        facts: further entries of the JSON object.
    """
    record = {
        "study": results.plan.study,
        "outcomes": results.outcomes,
        **facts,
        "table": results.table().to_json(),
        "files": files,
    }

    def show() -> None:
        from fanin.report.tables.terminal import print_table

        if first:
            print_lines([first, ""])
        print_table(results.table())
        print_lines(["", *_list_places(files)])

    return CommandOutput(record, show, exit_code)


def _list_places(files: dict[str, str]) -> list[str]:
    from fanin.report.escaping import escape_invisible

    words = {
        "page": "Page",
        "curves": "Curves",
        "csv": "Table",
        "markdown": "Table",
        "figures": "Each cell",
    }
    return [
        f"{words.get(name, 'Figure') + ':':<10} {escape_invisible(path)}"
        for name, path in files.items()
    ]
