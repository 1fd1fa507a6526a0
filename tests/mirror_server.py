"""A local server that acts as the mirrors of a data set, good and bad ones."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from fanin import data

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class MirrorServer:
    """``url(answer, file)`` answers in that manner with the file's content; `asked` lists the paths
    that were asked for.
    """

    def __init__(self, port: int, contents: Mapping[str, bytes]) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.contents = dict(contents)
        self.asked: list[str] = []
        self.released = threading.Event()

    def mirror(self, answer: str) -> data.Mirror:
        """A mirror that is a folder of files, of which each is answered in that manner."""
        return data.Mirror(url=f"{self.root}/{answer}/")


@contextmanager
def serve(contents: Mapping[str, bytes]) -> Iterator[MirrorServer]:
    """The server, in a thread, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            _, answer, name = self.path.split("/", 2)
            with contextlib.suppress(ConnectionError):
                ANSWERS[answer](self, state.contents.get(name, b""))

        def log_message(self, *_: object) -> None: ...

    server = _Server(("127.0.0.1", 0), Handler)
    server.state = state = MirrorServer(server.server_address[1], contents)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: MirrorServer


def _get_release(to: BaseHTTPRequestHandler) -> threading.Event:
    """What the end of the test sets, so that no answer outlasts it."""
    return cast(_Server, to.server).state.released


def _send(
    to: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/octet-stream",
    length: int | None = -1,
) -> None:
    to.send_response(status)
    to.send_header("Content-Type", kind)
    if length is not None:
        to.send_header("Content-Length", str(len(body) if length == -1 else length))
    to.end_headers()
    to.wfile.write(body)


def _redirect(to: BaseHTTPRequestHandler, target: str) -> None:
    to.send_response(302)
    to.send_header("Location", target)
    to.end_headers()


def _send_chunked(to: BaseHTTPRequestHandler, body: bytes) -> None:
    to.protocol_version = "HTTP/1.1"
    to.send_response(200)
    to.send_header("Transfer-Encoding", "chunked")
    to.send_header("Connection", "close")
    to.end_headers()
    for start in range(0, len(body), 10_000):
        part = body[start : start + 10_000]
        to.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
    to.wfile.write(b"0\r\n\r\n")


def _send_slowly(to: BaseHTTPRequestHandler, body: bytes, *, step: int, seconds: float) -> None:
    _send(to, b"", length=len(body))
    for start in range(0, len(body), step):
        to.wfile.write(body[start : start + step])
        to.wfile.flush()
        if _get_release(to).wait(seconds):
            return


def _send_half(to: BaseHTTPRequestHandler, body: bytes) -> None:
    _send(to, body[: len(body) // 2], length=len(body))
    to.wfile.flush()
    _get_release(to).wait(20)


def _send_nothing(to: BaseHTTPRequestHandler, body: bytes) -> None:
    _get_release(to).wait(20)


def _send_late(to: BaseHTTPRequestHandler, body: bytes) -> None:
    time.sleep(0.3)
    _send(to, body)


def _drip(to: BaseHTTPRequestHandler, first: bytes, drop: bytes) -> None:
    """Send the first bytes, then a drop every 20 ms: never silent, never done."""
    to.wfile.write(first)
    while not _get_release(to).wait(0.02):
        to.wfile.write(drop)
        to.wfile.flush()


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

DRIPS: dict[str, Answer] = {
    "drips-headers": lambda to, body: _drip(to, b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "drips-1xx": lambda to, body: _drip(to, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips-chunk-sizes": lambda to, body: _drip(to, _CHUNKED, b"0"),
    "drips-trailers": lambda to, body: _drip(
        to, _CHUNKED + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n", b"X-Trailer: x\r\n"
    ),
}


ANSWERS: dict[str, Answer] = {
    **DRIPS,
    "good": _send,
    "leisurely": _send_late,
    "without-length": lambda to, body: _send(to, body, length=None),
    "chunked": _send_chunked,
    "redirect-to-good": lambda to, body: _redirect(to, f"/good/{to.path.rsplit('/', 1)[1]}"),
    "more-than-announced": lambda to, body: _send(to, body + b"more", length=len(body)),
    "cut": lambda to, body: _send(to, body[:-1000], length=len(body)),
    "cut-without-length": lambda to, body: _send(to, body[:-1000], length=None),
    "empty": lambda to, body: _send(to, b""),
    "empty-without-length": lambda to, body: _send(to, b"", length=None),
    "empty-202": lambda to, body: _send(to, b"", status=202, length=None),
    "page": lambda to, body: _send(
        to,
        b"<!DOCTYPE html><p>Prove that you are human.",
        kind="text/html; charset=utf-8",
        length=None,
    ),
    "page-as-data": lambda to, body: _send(to, b"\n<html>" + body, length=None),
    "403": lambda to, body: _send(to, b"no", status=403),
    "404": lambda to, body: _send(to, b"", status=404),
    "503": lambda to, body: _send(to, body, status=503),
    "206": lambda to, body: _send(to, body, status=206),
    "circle": lambda to, body: _redirect(to, to.path),
    "other-bytes": lambda to, body: _send(to, bytes([body[0] ^ 1]) + body[1:]),
    "too-much": lambda to, body: _send(to, body * 50, length=None),
    "announces-too-much": lambda to, body: _send(to, body, length=10**15),
    "announces-too-little": lambda to, body: _send(to, body, length=10),
    "half-then-silent": _send_half,
    "nothing-at-all": _send_nothing,
    "1-kB-a-second": partial(_send_slowly, step=50, seconds=0.05),
    "100-kB-a-second": partial(_send_slowly, step=5000, seconds=0.05),
}
