"""A headless Chromium that tests drive: it opens pages, presses keys, and tells what happened.

It is spoken to over a pair of pipes with the browser's own protocol (one JSON object after the
other, each ended by a zero byte), so no driver and no network port are needed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)

NO_BROWSER = "needs Chromium (Debian: apt-get install chromium)"

_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)

_KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowRight": 39,
}

# The browser reads descriptor 3 and writes descriptor 4.
_START = """
import os, sys
ends = [os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))]
high = [os.dup2(end, 100 + i) for i, end in enumerate(ends)]
for i, end in enumerate(high):
    os.dup2(end, 3 + i)
os.execv(sys.argv[3], sys.argv[3:])
"""

_PATIENCE = 60.0
"""Seconds for an answer of the browser."""


@dataclass
class Browser:
    """One browser with one page."""

    to: int
    answers: int
    session: str = ""
    messages: list[str] = field(default_factory=list)
    """What the page wrote to its console, its errors, and what its policy blocked."""
    requests: list[str] = field(default_factory=list)
    """The addresses that the page asked for, its own first."""
    _count: int = 0
    _waiting: bytes = b""
    _events: list[Mapping[str, Any]] = field(default_factory=list)

    def open(self, page: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open a page in a window of that size and wait until its script has run."""
        self.messages.clear()
        self.requests.clear()
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self._wait_for("Page.loadEventFired")

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, from outside its content policy."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + 20
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press and release a key where the focus is."""
        code = _KEYS.get(key, ord(key[0].upper()))
        about = {"key": key, "windowsVirtualKeyCode": code}
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        self.call(
            "Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {})
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        for letter in text:
            self.press(letter)

    def draw_all(self) -> None:
        """Let every figure be drawn, as before printing."""
        self.run("window.dispatchEvent(new Event('beforeprint'))")

    def screenshot(self, target: Path, *, whole: bool = True) -> Path:
        """Write what is seen as PNG; the whole page, or the window only."""
        options: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.run(
                "[document.documentElement.clientWidth, document.documentElement.scrollHeight]"
            )
            clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 16_000), "scale": 1}
            options |= {"captureBeyondViewport": True, "clip": clip}
        target.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))
        return target

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the browser's protocol; returns its result."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _wait_for(self, event: str) -> None:
        while not any(one.get("method") == event for one in self._events):
            self._note(self._receive())
        self.run("new Promise(requestAnimationFrame)")

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self.answers], [], [], _PATIENCE)
            part = os.read(self.answers, 1 << 20) if ready else b""
            if not part:
                raise AssertionError("the browser says nothing")
            self._waiting += part
        text, _, self._waiting = self._waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: Mapping[str, Any]) -> None:
        """Keep what a test may ask for."""
        self._events.append({"method": event.get("method", "")})
        given = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(given["request"]["url"])
            case "Runtime.consoleAPICalled":
                self.messages.append(f"console: {given['args']}")
            case "Runtime.exceptionThrown":
                self.messages.append(f"exception: {given['exceptionDetails']}")
            case "Log.entryAdded":
                self.messages.append(f"log: {given['entry']['text']}")


@contextmanager
def start_browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty page; it ends with the block."""
    assert CHROMIUM is not None
    their_in, to = os.pipe()
    answers, their_out = os.pipe()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [CHROMIUM, *_FLAGS, *root, f"--user-data-dir={profile}", "about:blank"]
    starter = [sys.executable, "-c", _START, str(their_in), str(their_out), *command]
    process = subprocess.Popen(
        starter,
        pass_fds=(their_in, their_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    browser = Browser(to, answers)
    try:
        targets = browser.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        answer = browser.call("Target.attachToTarget", targetId=page, flatten=True)
        browser.session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable")
        yield browser
    finally:
        os.close(to)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers)
