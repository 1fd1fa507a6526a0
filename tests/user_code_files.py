"""Users' files for the tests of targets: written into a folder, loaded from there."""

from __future__ import annotations

import textwrap
from pathlib import Path


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    """Write a user's file; its path."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(file)
