"""``fanin show``: everything that the catalogue knows about one entry."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.cli.command_output import CommandOutput, print_lines
from fanin.cli.json_option import JsonOption
from fanin.cli.listing import format_columns

if TYPE_CHECKING:
    from fanin.catalogue import Description


def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A name, or KIND:NAME if two kinds have that name."),
    ],
    toml: Annotated[
        bool,
        typer.Option("--toml", help="Print a study as a TOML file, to make it your own."),
    ] = False,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Explain one entry of the catalogue.

    Prints its formula and paper, when to use it, what it needs, its options with their defaults,
    and an example.

    \b
    Examples:
      fanin show he_normal
      fanin show models:mlp
      fanin show quick --toml > my_study.toml

    \b
    Exit codes: 0 shown · 2 no such name
    """
    from fanin.catalogue.remembered import RememberedCatalogue

    known = RememberedCatalogue.open()
    is_study = toml and name in known.names("studies")
    found = known.find(f"studies:{name}" if is_study else name)
    known.save()
    if toml:
        return _show_toml(found)
    return CommandOutput(asdict(found), lambda: print_lines(format_entry(found)))


def _show_toml(entry: Description) -> CommandOutput:
    """A built-in study as its file has it, with the comments."""
    from fanin.catalogue import singular
    from fanin.errors import UsageError
    from fanin.study.builtin_studies import read_builtin_study

    if entry.kind != "studies":
        raise UsageError(
            f"--toml is for studies; {entry.name} belongs to the {entry.kind}. Studies: fanin list "
            f"studies. An example for a study file stands in: fanin show "
            f"{singular(entry.kind)}:{entry.name}"
        )
    text = read_builtin_study(entry.name)
    return CommandOutput({"name": entry.name, "toml": text}, lambda: print_lines(text.splitlines()))


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
