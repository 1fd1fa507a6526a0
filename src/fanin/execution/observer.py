"""Stages of a run, and who watches them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan
from fanin.execution.events import Event

if TYPE_CHECKING:
    from fanin.data import DownloadProgress  # imports torch, which reading results must not

OnDownload = Callable[["DownloadProgress"], None]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Stage:
    """One plan of a run: a tuning stage, or the evaluation."""

    plan: Plan
    to_train: tuple[Cell, ...]
    """The cells that need training, as far as can be told before the environment is known."""


class Observer(Protocol):
    """Watches the stages of a run. Both methods are entered before the work that they watch, and
    left after it, also if it fails. What they yield is told of the work.
    """

    def watch_downloads(self, stage: Stage) -> AbstractContextManager[OnDownload]:
        """Watch missing data sets being downloaded."""

    def watch_training(self, stage: Stage) -> AbstractContextManager[OnEvent]:
        """Watch cells being trained."""


@dataclass(frozen=True)
class CallbackObserver:
    """Calls the same two functions in every stage; None ignores what happens."""

    on_event: OnEvent | None = None
    on_download: OnDownload | None = None

    def watch_downloads(self, stage: Stage) -> AbstractContextManager[OnDownload]:
        """Call `on_download`."""
        return nullcontext(self.on_download or _ignore)

    def watch_training(self, stage: Stage) -> AbstractContextManager[OnEvent]:
        """Call `on_event`."""
        return nullcontext(self.on_event or _ignore)


def _ignore(_: object) -> None:
    """Do nothing."""
