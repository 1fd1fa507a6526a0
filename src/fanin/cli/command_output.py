"""What a command prints: an object for programs, or text for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from fanin.report.escaping import escape_lines

SCHEMA = 1


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
    has_effect: bool = False
    """Whether the command has done something else than to print this. Then it has not failed if
    standard output cannot be written.
    """


def print_lines(lines: Iterable[str] | str) -> None:
    """Print lines to standard output, control characters as escape sequences."""
    for line in [lines] if isinstance(lines, str) else lines:
        print_clean(line, sys.stdout)


def print_to_stderr(text: str) -> None:
    """Print a line to standard error: progress, warnings, what to do next."""
    print_clean(text, sys.stderr)
    sys.stderr.flush()


def print_clean(text: str, stream: TextIO) -> None:
    """Print text of anybody, line by line: a name, a message, what a server or a file says. It
    cannot move the cursor, and a stream that fails loses it (`fanin.cli.output_stream`).
    """
    print(escape_lines(text), file=stream)
