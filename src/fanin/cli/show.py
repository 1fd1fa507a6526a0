"""``fanin show``: all that the catalogue knows of one entry."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.cli.answer import Answer, AsJson, say
from fanin.cli.listing import columns

if TYPE_CHECKING:
    from fanin.catalogue import Description


def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A name, or KIND:NAME where one name is two things."),
    ],
    as_json: AsJson = False,
) -> Answer:
    """Explain one entry of the catalogue.

    Its formula and paper, when to use it, what it needs, its options with their defaults, an
    example.

    \b
    Examples:
      fanin show he_normal
      fanin show models:mlp

    \b
    Exit codes: 0 shown · 2 no such name
    """
    from fanin import catalogue

    found = catalogue.find(name)
    return Answer(asdict(found), lambda: say(page(found)))


def page(entry: Description) -> list[str]:
    """The lines that explain an entry, 80 columns wide."""
    from fanin.catalogue import singular
    from fanin.report.escaping import visible

    lines = [
        f"{entry.name} ({singular(entry.kind)})",
        "",
        *columns([("", visible(entry.summary))], indent=""),
        "",
    ]
    lines += columns([(heading, visible(text)) for heading, text in entry.facts.items() if text])
    if entry.options:
        lines += ["", "Options"]
        lines += columns(
            [
                (option.name, f"{_default(option.default)}; takes {option.takes}")
                for option in entry.options
            ]
        )
    return [*lines, "", "Examples", *(f"  {example}" for example in entry.examples)]


def _default(text: str) -> str:
    return f"{text} by default" if text else "must be given"
