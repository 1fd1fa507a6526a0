"""Users' files for the tests of user code: written to a folder and loaded from there."""

from __future__ import annotations

import textwrap
from pathlib import Path


def write_file(folder: Path, text: str, name: str = "mine.py") -> str:
    """Write a user's file and return its path."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(file)
