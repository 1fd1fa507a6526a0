"""``fanin store``: check a results store, and merge others into it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.cli.answer import Answer, AsJson, say, tell
from fanin.errors import StoreCorrupt

app = typer.Typer(
    name="store",
    help="Check a results store, and merge others into it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A results folder, such as runs/quick.")
]


@app.command()
def verify(folder: _Folder, as_json: AsJson = False) -> Answer:
    """Check a results store to the last byte; change nothing.

    \b
    Example:
      fanin store verify runs/quick

    \b
    Exit codes: 0 sound · 2 no store there · 3 damaged
    """
    from fanin.store import verify as checks

    problems = checks.verify(folder)

    def show() -> None:
        say(
            [f"{folder}: {len(problems)} problems", *(f"  {problem}" for problem in problems)]
            if problems
            else f"{folder}: sound"
        )

    record = {"folder": str(folder), "sound": not problems, "problems": problems}
    return Answer(record, show, StoreCorrupt.exit_code if problems else 0)


@app.command()
def merge(
    folder: _Folder,
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="Results folders and .jsonl files.")
    ],
    as_json: AsJson = False,
) -> Answer:
    """Add the results of other folders, or of .jsonl files, to a store.

    What the store has already is kept: where a source has other numbers for the same cell, that is
    reported and left out. A folder without a store gets one, so committed results can seed a study:
    merge them, then run it.

    \b
    Examples:
      fanin store merge runs/case-study results/case-study.jsonl
      fanin store merge runs/all runs/a runs/b

    \b
    Exit codes: 0 merged · 2 nothing to merge · 3 corrupt or locked
    """
    from fanin.store.merge import merge as merge_stores

    merged = merge_stores(folder, sources)
    for text in merged.warnings:
        tell(f"Warning: {text}")
    for text in merged.conflicts:
        tell(f"Conflict: {text}")
    record = {
        "folder": str(folder),
        "added": merged.added,
        "skipped": merged.skipped,
        "conflicts": list(merged.conflicts),
        "warnings": list(merged.warnings),
    }
    counts = f"{merged.added:,} results added, {merged.skipped:,} known already, {len(merged.conflicts):,} conflicts"
    return Answer(record, lambda: say(f"{folder}: {counts}"))
