"""Lines of progress on a stream that may be gone: progress never stops the work."""

from __future__ import annotations

import contextlib
from typing import TextIO

from fanin.report.escaping import escape_lines, make_encodable


def print_line(text: str, stream: TextIO) -> None:
    """Print text of anybody. It cannot move the cursor, characters that the stream lacks are
    replaced, and a stream that fails loses it.
    """
    with contextlib.suppress(OSError, ValueError):
        print(
            make_encodable(escape_lines(text), getattr(stream, "encoding", None) or "utf-8"),
            file=stream,
        )
        stream.flush()
