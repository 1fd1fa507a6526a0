"""Answer: what a command found, for programs and for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

SCHEMA = 1

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; all else goes to standard error.")
]
"""The option that every command has; `fanin.cli.main` looks for it itself, so that errors come as
JSON too.
"""


@dataclass(frozen=True)
class CommandOutput:
    """What a command found. `fanin.cli.main` prints one of the two forms; commands print nothing
    themselves.
    """

    record: Mapping[str, Any]
    """For ``--json``: whatever JSON can hold, finite numbers only."""
    show: Callable[[], None]
    """Prints the same for people."""
    exit_code: int = 0


def print_lines(lines: Iterable[str] | str) -> None:
    """Print lines in words that standard output's encoding has."""
    from fanin.report.tables.terminal import encodable

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in [lines] if isinstance(lines, str) else lines:
        print(encodable(line, encoding))


def print_to_stderr(text: str) -> None:
    """Print a line to standard error: progress, warnings, what to do next."""
    print(text, file=sys.stderr, flush=True)
