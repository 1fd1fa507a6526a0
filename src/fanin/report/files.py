"""Files that a user asked for."""

from __future__ import annotations

from pathlib import Path

from fanin import atomic
from fanin.errors import OutputError


def replace_file(path: str | Path, content: bytes) -> Path:
    """Write a file aside and move it into place, so that nobody ever sees half of it; its folder is
    made where it is missing.

    Raises `OutputError` where that is impossible; what stood there before is then still there.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return atomic.replace(target, content)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{target} cannot be written: {error}. Give a path in a folder that can be written to."
        ) from None
