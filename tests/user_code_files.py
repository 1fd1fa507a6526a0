"""Users' files for the tests of user code: written to a folder and loaded from there."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from fanin.cell.cell import Cell
from fanin.study.canonical_cell import make_cell


def write_file(folder: Path, text: str, name: str = "mine.py") -> str:
    """Write a user's file and return its path."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(file)


def make_small_cell(file: str, **changes: Any) -> Cell:
    """A cell on the data of a user's file, trained in milliseconds."""
    base = {
        "data": f"{file}:data",
        "model": "mlp(widths=[4], activation=relu)",
        "initializer": "he_normal",
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "epochs": 2,
        "batch_size": 8,
    }
    return make_cell({**base, **changes})
