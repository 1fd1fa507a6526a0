"""Progress of downloads on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from fanin.progress.plain_lines import print_line
from fanin.progress.remaining_time import format_duration
from fanin.report.escaping import escape_invisible

if TYPE_CHECKING:
    from rich.console import Console

    from fanin.data import DownloadProgress

LINE_EVERY = 5.0
"""The least seconds between two lines about one download, off a terminal."""


@contextmanager
def show_downloads(stream: TextIO | None = None) -> Iterator[Callable[[DownloadProgress], None]]:
    """Show what the yielded function is called with on a stream, standard error by default."""
    from rich.console import Console

    out = sys.stderr if stream is None else stream
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield _Lines(out).handle
        return
    bar = _Bar(console)
    with bar.progress:
        yield bar.handle


class _Lines:
    """Plain lines, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = 0.0

    def handle(self, event: DownloadProgress) -> None:
        """Print a line about an event, unless one was printed just before."""
        now = time.monotonic()
        if event.state != "receiving" or now - self._last >= LINE_EVERY:
            self._last = now
            print_line(_describe(event), self._stream)


class _Bar:
    """A bar for the file in transfer; failures and completed files scroll past above it."""

    def __init__(self, console: Console) -> None:
        from rich import progress as bars
        from rich.table import Column

        def make_column(field: str) -> bars.TextColumn:
            return bars.TextColumn(
                field, markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=5)
            )

        self.progress = bars.Progress(
            make_column("{task.description}"),
            bars.BarColumn(bar_width=None, table_column=Column(ratio=2)),
            make_column("{task.fields[detail]}"),
            console=console,
            expand=True,
            transient=True,
        )
        self._task = self.progress.add_task("", total=None, detail="", visible=False)

    def handle(self, event: DownloadProgress) -> None:
        """Show an event."""
        if event.state in ("failed", "done"):
            self.progress.console.print(_describe(event))
        self.progress.update(
            self._task,
            description=_describe_file(event),
            detail=_describe_rate(event) if event.state == "receiving" else event.state,
            total=event.total,
            completed=event.received,
            visible=event.state not in ("failed", "done"),
            refresh=True,  # there are about ten events a second
        )


def _describe(event: DownloadProgress) -> str:
    match event.state:
        case "waiting":
            return (
                f"{escape_invisible(event.dataset)}: waiting for another process that downloads it"
            )
        case "started":
            return f"{_describe_file(event)}: started"
        case "failed":
            return f"{_describe_file(event)}: failed: {escape_invisible(event.reason)}"
        case "done":
            return f"{_describe_file(event)}: done, {_format_size(event.received)}"
    return f"{_describe_file(event)}: {_describe_rate(event)}"


def _describe_file(event: DownloadProgress) -> str:
    """mnist: train-images.gz from example.org."""
    file = f": {event.file} from {event.mirror}" if event.url else ""
    return escape_invisible(f"{event.dataset}{file}")


def _describe_rate(event: DownloadProgress) -> str:
    """1.0 of 9.9 MB, 2.0 MB/s, 5 s to go."""
    total = f" of {_format_size(event.total)}" if event.total is not None else ""
    left = (
        f", {format_duration(event.seconds_left)} to go" if event.seconds_left is not None else ""
    )
    return f"{_format_size(event.received)}{total}, {_format_size(event.speed)}/s{left}"


def _format_size(count: float) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"
