"""Figures of an earlier plan, which would be taken for those of the latest one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

_FIGURE = re.compile(r"figure-\d+-[a-z0-9-]+\.(png|pdf|svg)")
_CELL = re.compile(r"[0-9a-f]{16}\.png")
_PAGE_MARK = b"Written by fanin"


def remove_stale_figures(folder: Path, written: Iterable[Path], cells: Iterable[str]) -> None:
    """Remove the figures of other plans, in a folder that is fanin's own.

    Args:
        folder: with a store or a page; nothing is removed from any other.
        written: figures of the plan.
        cells: ids of the plan's cells, whose own figures stay.
    """
    if not _is_own(folder):
        return
    kept = {path.name for path in written}
    ids = set(cells)
    stale = [
        *(path for path in folder.glob("figure-*") if _is_stale(path, kept)),
        *(
            path
            for path in (folder / "figures").glob("*.png")
            if _CELL.fullmatch(path.name) and path.stem not in ids
        ),
    ]
    for path in stale:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_stale(path: Path, kept: set[str]) -> bool:
    return _FIGURE.fullmatch(path.name) is not None and path.name not in kept and path.is_file()


def _is_own(folder: Path) -> bool:
    if (folder / "results.sqlite").is_file():
        return True
    with contextlib.suppress(OSError):
        return _PAGE_MARK in (folder / "report.html").read_bytes()
    return False
