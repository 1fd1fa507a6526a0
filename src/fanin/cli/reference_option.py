"""The option ``--reference``."""

from __future__ import annotations

from typing import Annotated

import typer

ReferenceOption = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="NAME",
        help="The value that all others are compared with; by default the study's own, or the "
        "usual one, such as he_normal.",
    ),
]
"""The option of every command that compares values."""
