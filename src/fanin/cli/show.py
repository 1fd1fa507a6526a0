"""``fanin show``: everything that the catalogue knows about one entry."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.cli.command_output import CommandOutput, JsonOption, print_lines
from fanin.cli.listing import format_columns

if TYPE_CHECKING:
    from fanin.catalogue import Description


def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A name, or KIND:NAME if two kinds have that name."),
    ],
    as_json: JsonOption = False,
) -> CommandOutput:
    """Explain one entry of the catalogue.

    Prints its formula and paper, when to use it, what it needs, its options with their defaults,
    and an example.

    \b
    Examples:
      fanin show he_normal
      fanin show models:mlp

    \b
    Exit codes: 0 shown · 2 no such name
    """
    from fanin import catalogue

    found = catalogue.find(name)
    return CommandOutput(asdict(found), lambda: print_lines(format_entry(found)))


def format_entry(entry: Description) -> list[str]:
    """Explain an entry in lines as wide as the output."""
    from fanin.catalogue import singular
    from fanin.report.escaping import escape_invisible

    lines = [
        f"{entry.name} ({singular(entry.kind)})",
        "",
        *format_columns([("", escape_invisible(entry.summary))], indent=""),
        "",
    ]
    lines += format_columns(
        [(heading, escape_invisible(text)) for heading, text in entry.facts.items() if text]
    )
    if entry.options:
        lines += ["", "Options"]
        lines += format_columns(
            [
                (option.name, f"{_describe_default(option.default)}; takes {option.takes}")
                for option in entry.options
            ]
        )
    return [*lines, "", "Examples", *(f"  {example}" for example in entry.examples)]


def _describe_default(text: str) -> str:
    return f"{text} by default" if text else "must be given"
