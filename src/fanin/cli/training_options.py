"""The options and words that ``fanin run`` and ``fanin compare`` share: both train cells."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Worker processes; by default one per usable core, on a GPU one.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="A torch device, such as cpu or cuda.")
]


def declare_out(default: str) -> Any:
    """``--out``, whose help names the folder that is taken without it."""
    return typer.Option("--out", metavar="DIR", help=f"Results folder; {default} by default.")


def declare_replicates(words: str) -> Any:
    """``--replicates``; the words say what the number is instead of."""
    return typer.Option("--replicates", metavar="N", help=words)


def declare_selection(option: str, words: str) -> Any:
    """``--only`` or ``--add``: axes and values; `fanin.cli.only_option` reads them."""
    return typer.Option(option, metavar="KEY=VALUE,…", help=f"{words} {option} may be repeated.")


def declare_dry_run(words: str) -> Any:
    """``--dry-run``; the words say what is printed."""
    return typer.Option("--dry-run", help=words)


def format_command(context: typer.Context) -> str:
    """The command line as it was given, which continues the study from the same folder."""
    return shlex.join(["fanin", *(word for word in context.obj if word != "--json")])


def shorten(folder: Path) -> Path:
    """The folder relative to the working directory, if it lies below."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def describe_trials(count: int) -> str:
    """What a dry run says of the trainings that tune the learning rate."""
    return (
        f"Before them {count:,} trainings tune the learning rate; more if the best lies at the "
        "grid's edge."
    )


def describe_workers(count: int) -> str:
    """``2 workers``."""
    return f"{count} {'workers' if count > 1 else 'worker'}"
