"""Cells that are trained again only because they measure their signals this time."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterable
from dataclasses import replace

from fanin.cell.cell import Cell


def warn_of_cells_to_measure(to_train: Iterable[Cell], results: Container[str]) -> None:
    """Say it if cells have results in the folder that lack signals and nothing else.

    Args:
        to_train: the cells that will be trained.
        results: the ids of the cells that have results.
    """
    again = sum(cell.signals and replace(cell, signals=False).id in results for cell in to_train)
    if again:
        have = "cell has a result" if again == 1 else "cells have results"
        warnings.warn(
            f"{again:,} {have} without signals in this folder, and will be trained again, with the "
            "same numbers otherwise: what is measured is a part of a cell.",
            stacklevel=6,
        )
