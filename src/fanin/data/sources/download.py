"""One download from one mirror, with checks of the answer and limits on speed and time.

This is the downloader that pooch calls: pooch itself limits neither speed nor total time, keeps any
body, and accepts status 202. Times are of the monotonic clock.
"""

from __future__ import annotations

import contextlib
import http
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from fanin._version import __version__
from fanin.data.sources.file_check import format_sizes

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 18
_MOST_REDIRECTS = 5
_REPORT_EVERY = 0.1
_MOST_WAITING = 4
"""Chunks that are read ahead."""
_PATIENCE = 2.0
"""Windows without data after which a mirror is given up, whatever else it sends."""


@dataclass(frozen=True, kw_only=True)
class DownloadLimits:
    """When a download is given up. Bytes and seconds."""

    speed: float = 100_000.0
    """A slower mirror, averaged over `window`, is given up for the next one."""
    slowest: float = 10_000.0
    """If all mirrors were slower than `speed`, they are tried again with this minimum."""
    window: float = 15.0
    """Also the longest silence: before the connection, before the answer, and within it."""
    total: float = 4 * 3600.0
    """The longest time for one file from one mirror."""


class DownloadFailed(Exception):
    """A mirror did not send the file; the text says why. Never raised outside `fanin.data`."""


class DownloadTooSlow(DownloadFailed):
    """A mirror was slower than `DownloadLimits.speed`."""


OnReceived = Callable[[int, int | None, float], None]
"""Called some ten times a second with the bytes received, the bytes in all (None if unknown) and
the mean speed in bytes/s.
"""


class Download:
    """A downloader for `pooch.retrieve`: writes the content of a URL to a file.

    Raises `DownloadFailed`, and OSError if the file cannot be written.

    Args:
        sizes: how many bytes the file may have.
        speed: the minimum in each window of `limits.window` seconds, in bytes/s.
        limits: the other limits.
        on_received: told of the progress.
    """

    def __init__(
        self, *, sizes: range, speed: float, limits: DownloadLimits, on_received: OnReceived
    ) -> None:
        self._sizes = sizes
        self._speed = speed
        self._limits = limits
        self._on_received = on_received

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        chunks = contextlib.closing(self._receive(url))
        with chunks as received, Path(output_file).open("wb") as file:
            for chunk in received:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def _receive(self, url: str) -> Generator[bytes, None, None]:
        meter = _SpeedMeter(self._speed, self._limits)
        with contextlib.closing(_Answer(url, self._sizes, self._limits)) as answer:
            total = answer.wait_for_length(meter)
            last_report = -_REPORT_EVERY
            while chunk := answer.wait_for_chunk(meter):
                if meter.received == 0 and chunk.lstrip()[:1] == b"<":
                    raise DownloadFailed("answered with a web page")
                meter.count(len(chunk))
                if meter.received >= self._sizes.stop:
                    raise DownloadFailed(
                        f"sent more than the {self._sizes.stop - 1:,} bytes that the file has"
                    )
                yield chunk
                if meter.elapsed - last_report >= _REPORT_EVERY:
                    last_report = meter.elapsed
                    self._on_received(meter.received, total, meter.mean)
            _check_length(meter.received, total, self._sizes)
            self._on_received(meter.received, total, meter.mean)


class _Answer:
    """What a mirror answers, read in a thread of its own.

    A mirror that sends single bytes of a header, of the size of a chunk or of a trailer keeps the
    reader busy without sending data. Whoever waits here does so for a limited time, whatever the
    reader is doing; a reader that is left behind ends with its connection, or with the process.
    """

    def __init__(self, url: str, sizes: range, limits: DownloadLimits) -> None:
        self._limits = limits
        self._items: SimpleQueue[int | bytes | BaseException | None] = SimpleQueue()
        self._space = threading.Semaphore(_MOST_WAITING)
        self._is_left = threading.Event()
        self._last = time.monotonic()
        threading.Thread(
            target=self._read, args=(url, sizes), name="fanin-download", daemon=True
        ).start()

    def wait_for_length(self, meter: _SpeedMeter) -> int | None:
        """The length that the answer announces, if any."""
        length = self._wait(meter)
        assert not isinstance(length, bytes)
        return length

    def wait_for_chunk(self, meter: _SpeedMeter) -> bytes:
        """The next bytes; none at the end."""
        chunk = self._wait(meter)
        assert isinstance(chunk, bytes)
        self._space.release()
        return chunk

    def close(self) -> None:
        """Let the reader end."""
        self._is_left.set()
        self._space.release()

    def _wait(self, meter: _SpeedMeter) -> int | bytes | None:
        # Longer than the reader's own patience, which tells more of what is wrong.
        patience = _PATIENCE * self._limits.window
        while True:
            try:
                item = self._items.get(timeout=min(_REPORT_EVERY, patience))
            except Empty:
                meter.check_total()
                if time.monotonic() - self._last > patience:
                    raise DownloadFailed(
                        f"sent no data for {patience:,.1f} s, though it was not silent"
                    ) from None
                continue
            self._last = time.monotonic()
            if isinstance(item, BaseException):
                raise item
            return item

    def _read(self, url: str, sizes: range) -> None:
        try:
            with _convert_errors(self._limits), _request(url, self._limits) as response:
                self._items.put(_check_answer(response, sizes))
                while chunk := response.raw.read1(_CHUNK, decode_content=False):
                    self._space.acquire()
                    if self._is_left.is_set():
                        return
                    self._items.put(chunk)
            self._items.put(b"")
        except BaseException as error:
            self._items.put(error)


class _SpeedMeter:
    """Bytes over time, and the limits on them."""

    def __init__(self, speed: float, limits: DownloadLimits) -> None:
        self._speed = speed
        self._limits = limits
        self._start = self._window_start = time.monotonic()
        self._in_window = 0
        self.received = 0
        self.elapsed = 0.0

    @property
    def mean(self) -> float:
        """Bytes/s since the start."""
        return self.received / max(self.elapsed, 1e-6)

    def count(self, size: int) -> None:
        """Count a chunk.

        Raises `DownloadTooSlow` at the end of a window that was too slow, and `DownloadFailed`
        after the total time.
        """
        now = time.monotonic()
        self.elapsed = now - self._start
        self.received += size
        self._in_window += size
        self.check_total()
        seconds = now - self._window_start
        if seconds >= self._limits.window:
            if self._in_window < self._speed * seconds:
                raise DownloadTooSlow(
                    f"sent {self._in_window / seconds / 1e3:,.1f} kB/s, less than "
                    f"{self._speed / 1e3:,.1f}"
                )
            self._window_start, self._in_window = now, 0

    def check_total(self) -> None:
        """Raise `DownloadFailed` after the total time."""
        if time.monotonic() - self._start > self._limits.total:
            raise DownloadFailed(f"was not done after {self._limits.total:,.1f} s")


@contextlib.contextmanager
def _request(url: str, limits: DownloadLimits) -> Iterator[requests.Response]:
    import requests

    # Identity: the checksum is that of the published bytes, not of what a server compresses.
    headers = {"User-Agent": f"fanin/{__version__}", "Accept-Encoding": "identity"}
    with requests.Session() as session:
        session.max_redirects = _MOST_REDIRECTS
        with session.get(
            url, headers=headers, stream=True, timeout=(limits.window, limits.window)
        ) as response:
            yield response


def _check_answer(response: requests.Response, sizes: range) -> int | None:
    """The length that the answer announces, if any.

    Raises `DownloadFailed` for an answer that cannot be the file.
    """
    if response.status_code != http.HTTPStatus.OK:
        with contextlib.suppress(ValueError):
            raise DownloadFailed(
                f"answered {response.status_code} {http.HTTPStatus(response.status_code).phrase}"
            )
        raise DownloadFailed(f"answered {response.status_code}")
    content_type = response.headers.get("Content-Type", "").lower()
    if content_type.startswith(("text/html", "application/xhtml")):
        raise DownloadFailed("answered with a web page")
    announced = response.headers.get("Content-Length", "")
    if not announced.isdecimal():
        return None
    if int(announced) not in sizes:
        raise DownloadFailed(f"announced {int(announced):,} bytes; expected {format_sizes(sizes)}")
    return int(announced)


def _check_length(received: int, announced: int | None, sizes: range) -> None:
    if received == 0:
        raise DownloadFailed("sent nothing")
    if announced is not None and received != announced:
        raise DownloadFailed(f"broke off after {received:,} of {announced:,} bytes")
    if received not in sizes:
        raise DownloadFailed(f"broke off after {received:,} bytes; expected {format_sizes(sizes)}")


@contextlib.contextmanager
def _convert_errors(limits: DownloadLimits) -> Iterator[None]:
    """Raise the errors of requests and urllib3 as `DownloadFailed`."""
    import requests
    import urllib3

    try:
        yield
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise DownloadFailed(f"was silent for {limits.window:,.1f} s") from None
    except requests.TooManyRedirects:
        raise DownloadFailed(f"redirected more than {_MOST_REDIRECTS} times") from None
    except requests.exceptions.SSLError as error:
        raise DownloadFailed(f"has no trusted TLS connection: {_describe_cause(error)}") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise DownloadFailed(f"could not be read: {_describe_cause(error)}") from None


def _describe_cause(error: BaseException) -> str:
    """The text of the first cause, such as "Connection refused"."""
    while error.__context__ is not None:
        error = error.__context__
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)
