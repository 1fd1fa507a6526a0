"""The option ``--json``."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; all else goes to standard error.")
]
"""The option that every command has. `fanin.cli.main` looks for it in the command line itself, so
that errors come as JSON too.
"""
