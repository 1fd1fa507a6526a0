"""Standard output and standard error. Everything that a command prints goes through here.

Nobody may be there to read it: a full disk, a reader that has gone, a terminal that was closed. So
an error in writing never reaches the work that is told of. `OutputStream` keeps the error, and
drops what follows.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from fanin.report.escaping import make_encodable


class OutputStream(io.TextIOBase):
    """A text stream whose methods do not fail. Characters that its encoding lacks are replaced.

    Args:
        stream: where the text goes; None if the process has no such stream.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        """Why text was lost."""
        if stream is None:
            self.failure = OSError(errno.EBADF, "it is closed")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self._stream, "errors", None)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError(errno.EBADF, "it is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write text; of an error, see `failure`."""
        shown = make_encodable(text, self.encoding)
        if self._stream is not None and self.failure is None:
            with self._catch_failure():
                self._stream.write(shown)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; of an error, see `failure`."""
        if self._stream is not None and self.failure is None:
            with self._catch_failure():
                self._stream.flush()

    @contextlib.contextmanager
    def _catch_failure(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: user code has closed the stream
            failure = error if isinstance(error, OSError) else OSError(errno.EBADF, "it is closed")
            self.failure = failure
            self._discard_rest()

    def _discard_rest(self) -> None:
        """Let what is buffered go nowhere: Python would fail at exit when it tries once more."""
        if self._stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(OSError, ValueError):
                _redirect_to_null(self.fileno())


@contextlib.contextmanager
def open_output() -> Iterator[tuple[OutputStream, OutputStream]]:
    """Standard output and standard error as `OutputStream`, also for `print` and `sys.stderr`."""
    _occupy_closed_descriptors()
    out, errors = OutputStream(sys.stdout), OutputStream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            yield out, errors
        finally:
            out.flush()
            errors.flush()


def _occupy_closed_descriptors() -> None:
    """Open the descriptors 0 to 2 if they are closed: what is printed must not get into a file
    that was given one of these numbers.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _redirect_to_null(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
