"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from fanin.errors import OutputError


def replace_file(path: str | Path, content: bytes) -> Path:
    """Write a file aside and move it into place, so that nobody ever sees half of it; its folder is made where it is missing.

    Raises `OutputError` where that is impossible; what stood there before is then still there.
    """
    target = Path(path)
    aside = target.parent / f".fanin-{os.getpid()}-{time.monotonic_ns()}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except (OSError, ValueError) as error:
        raise OutputError(f"{target} cannot be written: {error}. Give a path in a folder that can be written to.") from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            aside.unlink()
    return target
