"""``fanin list``: what the catalogue holds."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from fanin.cli.command_output import CommandOutput, print_lines
from fanin.cli.json_option import JsonOption
from fanin.screen import count_columns

_LEAST = 20
"""Columns that a text takes at least."""


def list_entries(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="initializers, models, datasets, studies, …"),
    ] = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """List the catalogue: initializers, models, datasets, studies, …

    \b
    Examples:
      fanin list
      fanin list initializers

    \b
    Exit codes: 0 listed · 2 no such kind
    """
    from fanin import catalogue
    from fanin.catalogue.remembered import RememberedCatalogue

    known = RememberedCatalogue.open()
    if kind is None:
        counts = {name: len(known.names(name)) for name in catalogue.kinds()}
        known.save()
        lines = [f"  {name:<14} {count:>3}   fanin list {name}" for name, count in counts.items()]
        return CommandOutput({"kinds": counts}, lambda: print_lines(lines))
    pairs = [(name, known.summarize(kind, name)) for name in sorted(known.names(kind))]
    known.save()
    record = {
        "kind": catalogue.find_kind(kind),
        "entries": [{"name": name, "summary": summary} for name, summary in pairs],
    }
    return CommandOutput(
        record, lambda: print_lines([*format_columns(pairs), "", "More about one: fanin show NAME"])
    )


def format_columns(pairs: list[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Names and their texts in two columns, wrapped at the width of the output."""
    width = max((len(name) for name, _ in pairs), default=0)
    room = max(count_columns() - width - len(indent) - 2, _LEAST)
    lines: list[str] = []
    for name, text in pairs:
        first, *rest = textwrap.wrap(text, room, break_on_hyphens=False) or [""]
        lines += [
            f"{indent}{name:<{width}}  {first}".rstrip(),
            *(f"{indent}{'':<{width}}  {line}" for line in rest),
        ]
    return lines
