"""``fanin store``: check a results store, salvage a damaged one, or merge others into it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.cli.json_option import JsonOption
from fanin.errors import StoreCorrupt

app = typer.Typer(
    name="store",
    help="Check a results store, salvage a damaged one, or merge others into it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A results folder, such as runs/quick.")
]


@app.command()
def verify(folder: _Folder, as_json: JsonOption = False) -> CommandOutput:
    """Check every byte of a results store, without changing it.

    \b
    Example:
      fanin store verify runs/quick

    \b
    Exit codes: 0 sound · 2 no store there · 3 damaged
    """
    from fanin.store import verify as checks

    problems = checks.verify(folder)

    def show() -> None:
        print_lines(
            [f"{folder}: {len(problems)} problems", *(f"  {problem}" for problem in problems)]
            if problems
            else f"{folder}: sound"
        )

    record = {"folder": str(folder), "sound": not problems, "problems": problems}
    return CommandOutput(record, show, StoreCorrupt.exit_code if problems else 0)


@app.command()
def salvage(
    folder: _Folder,
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder for the sound results, without a store.")
    ],
    as_json: JsonOption = False,
) -> CommandOutput:
    """Copy the sound results of a damaged store to another folder.

    Results that are not what was written are left out, and named. The damaged store is not changed.
    Run the study with --out OUT to train again what was lost.

    \b
    Example:
      fanin store salvage runs/quick runs/quick-salvaged

    \b
    Exit codes: 0 everything was sound · 2 no store there, or one in OUT already
    · 3 some results were lost; the others are in OUT
    """
    from fanin.store.salvage import salvage as salvage_store

    report = salvage_store(folder, output)
    for problem in report.problems:
        print_to_stderr(f"Lost: {problem}")
    record = {
        "folder": str(folder),
        "output": str(output),
        "kept": report.kept,
        "lost": report.lost,
        "has_plan": report.has_plan,
        "problems": list(report.problems),
    }
    plan = "with its plan" if report.has_plan else "without a plan"
    counts = f"{report.kept:,} results kept, {plan}; {report.lost:,} known to be lost"
    is_damaged = report.lost or report.problems
    return CommandOutput(
        record,
        lambda: print_lines(f"{output}: {counts}"),
        StoreCorrupt.exit_code if is_damaged else 0,
    )


@app.command()
def merge(
    folder: _Folder,
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="Results folders and .jsonl files.")
    ],
    as_json: JsonOption = False,
) -> CommandOutput:
    """Add the results of other folders or .jsonl files to a store.

    The store keeps what it has: if a source has other numbers for the same cell, they are reported
    and left out. A folder without a store gets one. So you can start a study from committed
    results: merge them, then run the study.

    \b
    Examples:
      fanin store merge runs/case-study results/case-study.jsonl
      fanin store merge runs/all runs/a runs/b

    \b
    Exit codes: 0 merged · 1 merged, except for conflicts · 2 nothing to merge · 3 corrupt or locked
    """
    from fanin.store.merge import merge as merge_stores

    merged = merge_stores(folder, sources)
    for text in merged.warnings:
        print_to_stderr(f"Warning: {text}")
    for text in merged.conflicts:
        print_to_stderr(f"Conflict: {text}")
    record = {
        "folder": str(folder),
        "added": merged.added,
        "skipped": merged.skipped,
        "conflicts": list(merged.conflicts),
        "warnings": list(merged.warnings),
    }
    counts = (
        f"{merged.added:,} results added, {merged.skipped:,} known already, "
        f"{len(merged.conflicts):,} conflicts"
    )
    return CommandOutput(
        record,
        lambda: print_lines(f"{folder}: {counts}"),
        exit_code=1 if merged.conflicts else 0,
        has_effect=True,
    )
