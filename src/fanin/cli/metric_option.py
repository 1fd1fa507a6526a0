"""The option ``--metric`` of the commands that show stored results."""

from __future__ import annotations

from typing import Annotated

import typer

MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="The metric to compare by, such as loss or val_accuracy, instead of the study's.",
    ),
]
