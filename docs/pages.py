"""Pages that are generated: written, or with --check compared with what is there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def write_or_check(page: Path, make: Callable[[], str]) -> int:
    """Write a page; with ``--check`` write nothing, and return 1 if the page is not what `make` gives."""
    text = make()
    if "--check" in sys.argv[1:]:
        return 0 if page.exists() and page.read_text(encoding="utf-8") == text else 1
    page.write_text(text, encoding="utf-8")
    return 0
