"""``fanin status``: what of a study is done, what is running, and what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.cli.command_output import CommandOutput
from fanin.cli.folder_state import read_state
from fanin.cli.json_option import JsonOption


def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results folder, such as runs/quick.")
    ],
    as_json: JsonOption = False,
) -> CommandOutput:
    """Show what of a study is done, what is running, and what failed.

    Changes nothing. Works while the study runs.

    \b
    Example:
      fanin status runs/quick

    \b
    Exit codes: 0 shown · 2 no results there · 3 store corrupt
    """
    return read_state(folder)
