"""The commands of the command line, as Typer reads them."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from fanin._version import __version__
from fanin.cli import (
    audit,
    compare,
    data,
    explain,
    export,
    listing,
    report,
    run,
    show,
    status,
    store,
)

# Typer's error for a command line that it does not understand. Older versions import it from click,
# newer ones define it.
Misuse = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

app = typer.Typer(
    name="fanin",
    epilog="Exit codes: 0 done · 1 some cells failed, or the audit found errors · 2 usage · "
    "3 store corrupt, locked or full · 4 data missing or damaged · 130 / 143 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(audit.audit)
app.command()(explain.explain)
app.command()(run.run)
app.command()(compare.compare)
app.command()(status.status)
app.command()(report.report)
app.command()(export.export)
app.add_typer(store.app)
app.command("list")(listing.list_entries)
app.command()(show.show)
app.add_typer(data.app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"fanin {__version__}")
        raise typer.Exit


@app.callback()
def _describe_program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Which initialization should this network start from? Measure it, don't guess.

    \b
    Does my model start well?           fanin audit net.py:Net --input 64x20
    A first study, in a minute or two:  fanin run quick
    What you can choose from:           fanin list
    How to use a command:               fanin COMMAND --help
    """
