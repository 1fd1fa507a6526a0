"""``fanin status``: what of a study is done, what is running, and what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.cli.command_output import CommandOutput
from fanin.cli.folder_state import read_state
from fanin.cli.json_option import JsonOption
from fanin.cli.reference_option import ReferenceOption


def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results folder, such as runs/quick.")
    ],
    differences: Annotated[
        bool,
        typer.Option(
            "--differences",
            help="Also show what may be concluded, section by section, and all differences.",
        ),
    ] = False,
    reference: ReferenceOption = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Show what of a study is done, what is running, and what failed.

    With --differences or --reference also what the results say so far: a sentence for each section,
    and each value's difference from the reference with its interval and p value. Changes nothing.
    Works while the study runs.

    \b
    Examples:
      fanin status runs/quick
      fanin status runs/quick --reference xavier_uniform

    \b
    Exit codes: 0 shown · 2 no results there · 3 store corrupt
    """
    state = read_state(folder)
    if not differences and reference is None:
        return state
    from fanin.cli.comparison_output import add_comparison

    return add_comparison(state, folder, reference)
