"""What the catalogue said before, so that `fanin list` and `fanin show` need not import torch.

Answers are kept in a file of the user's cache. They hold as long as nothing has changed that they
depend on: the files of this package, the installed packages, the folder of data sets. If torch is
imported already, or plug-ins are installed, nothing is remembered: then the catalogue is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import platformdirs

from fanin import atomic, catalogue
from fanin._version import __version__
from fanin.catalogue.description import Description, Option

_PACKAGE = Path(__file__).parent.parent
_FILE = "catalogue.json"
_MOST_FILES = 5000
_VARIABLES = ("FANIN_DATA_DIR", "FANIN_MAP_FROM")


class RememberedCatalogue:
    """Answers as `fanin.catalogue` does, from a file where it can.

    Args:
        file: where answers are kept; None to keep none.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._key = _make_key() if file is not None else ""
        self._answers: dict[str, Any] = {}
        self._has_news = False
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            record = json.loads(file.read_bytes()) if file is not None else {}
            self._answers = dict(record["answers"]) if record["key"] == self._key else {}

    @classmethod
    def open(cls) -> RememberedCatalogue:
        """The catalogue of this process."""
        if "torch" in sys.modules or any(
            group.startswith("fanin") for group in entry_points().groups
        ):
            return cls(None)
        return cls(platformdirs.user_cache_path("fanin") / _FILE)

    def names(self, kind: str) -> tuple[str, ...]:
        """As `fanin.catalogue.names`."""
        kind = catalogue.find_kind(kind)
        return tuple(self._remember(f"names {kind}", lambda: list(catalogue.names(kind))))

    def words(self, kind: str) -> tuple[str, ...]:
        """As `fanin.catalogue.words`."""
        kind = catalogue.find_kind(kind)
        return tuple(self._remember(f"words {kind}", lambda: list(catalogue.words(kind))))

    def summarize(self, kind: str, name: str) -> str:
        """As `fanin.catalogue.summarize`."""
        summary = self._remember(
            f"summary {catalogue.find_kind(kind)} {name}", lambda: catalogue.summarize(kind, name)
        )
        return str(summary)

    def find(self, text: str) -> Description:
        """As `fanin.catalogue.find`."""
        if self._file is None:
            return catalogue.find(text)
        kind, name = catalogue.locate(text, self.words)
        record = self._remember(
            f"description {kind} {name}", lambda: asdict(catalogue.describe(kind, name))
        )
        options = tuple(Option(**option) for option in record["options"])
        return Description(**record | {"options": options, "examples": tuple(record["examples"])})

    def save(self) -> None:
        """Keep what was asked anew, if the folder can be written."""
        if self._file is None or not self._has_news:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            record = {"key": self._key, "answers": self._answers}
            atomic.replace(self._file, json.dumps(record).encode())

    def _remember(self, question: str, ask: Callable[[], Any]) -> Any:
        if question not in self._answers:
            self._answers[question] = ask()
            self._has_news = True
        return self._answers[question]


def _make_key() -> str:
    """A digest of all that answers depend on."""
    facts = [
        __version__,
        sys.version,
        str(Path.cwd()),
        *(f"{name}={os.environ.get(name)}" for name in _VARIABLES),
    ]
    data = os.environ.get("FANIN_DATA_DIR") or str(platformdirs.user_cache_path("fanin"))
    folders = [str(_PACKAGE), *sys.path, data]
    for folder in folders:
        facts += _list_state(folder, deep=folder in (str(_PACKAGE), data))
    return hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()


def _list_state(folder: str, *, deep: bool) -> Iterator[str]:
    """The time of a folder, or if `deep` name, size and time of the files in it."""
    with contextlib.suppress(OSError, ValueError):
        if not deep:
            yield f"{folder} {Path(folder).stat().st_mtime_ns}"
            return
        files = (
            Path(parent, name)
            for parent, _, names in sorted(os.walk(folder))
            if "__pycache__" not in parent
            for name in sorted(names)
            if name != _FILE
        )
        for number, file in enumerate(files):
            if number == _MOST_FILES:
                yield f"too many files to look at {time.time_ns()}"  # no two keys are equal
                return
            state = file.stat()
            yield f"{file} {state.st_size} {state.st_mtime_ns}"
