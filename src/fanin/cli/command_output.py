"""What a command prints: an object for programs, or text for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TextIO

import typer

SCHEMA = 1

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; all else goes to standard error.")
]
"""The option that every command has. `fanin.cli.main` looks for it in the command line itself, so
that errors come as JSON too.
"""


@dataclass(frozen=True)
class CommandOutput:
    """The output of a command. Commands return it, and `fanin.cli.main` prints one of the two
    forms.
    """

    record: Mapping[str, Any]
    """For ``--json``: JSON values, finite numbers only."""
    show: Callable[[], None]
    """Prints the same for people."""
    exit_code: int = 0


def print_lines(lines: Iterable[str] | str) -> None:
    """Print lines to standard output."""
    for line in [lines] if isinstance(lines, str) else lines:
        print_encodable(line, sys.stdout)


def print_to_stderr(text: str) -> None:
    """Print a line to standard error: progress, warnings, what to do next."""
    print_encodable(text, sys.stderr)
    sys.stderr.flush()


def print_encodable(text: str, stream: TextIO) -> None:
    """Print a line; characters that the stream's encoding lacks are replaced."""
    from fanin.report.tables.terminal import make_encodable

    print(make_encodable(text, getattr(stream, "encoding", None) or "utf-8"), file=stream)
