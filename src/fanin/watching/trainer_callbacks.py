"""Callbacks of other packages' trainers that watch a training, imported when they are asked for.

Lightning and transformers call them at the beginning, after each epoch and at the end. In between
the steps of the optimizer are seen by torch's own hooks, so nothing depends on the trainer.
"""

from __future__ import annotations

import contextlib
import math
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from fanin.errors import UsageError
from fanin.watching.watch import Watch


def watch_lightning(
    *, every: int | None = 100, path: str | Path | None = None, append: bool = False
) -> Any:
    """A callback of Lightning that watches a training, as `fanin.watch` does.

        trainer = lightning.Trainer(callbacks=[fanin.watch_lightning(path="signals.jsonl")])

    At the end of each training epoch it notes what was logged (`trainer.callback_metrics`). The
    watch is in the callback's attribute ``watch``. With several optimizers the steps of the one
    that steps first are counted.

    Args:
        every: as for `fanin.watch`.
        path: as for `fanin.watch`.
        append: as for `fanin.watch`.

    Raises `UsageError` if neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    base = _find_lightning().Callback

    class FaninCallback(base):  # type: ignore[misc, valid-type]
        """Watches a training of Lightning."""

        def __init__(self) -> None:
            super().__init__()
            self.watch: Watch | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self._end("replaced by another training")
            self.watch = Watch(pl_module, every=every, path=path, append=append).__enter__()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if self.watch is not None:
                self.watch.epoch(**_keep_numbers(trainer.callback_metrics))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self._end("finished")

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self._end(f"{type(exception).__name__}: {exception}")

        def _end(self, ending: str) -> None:
            if self.watch is not None and self.watch.is_running:
                self.watch.stop(ending)

    return FaninCallback()


def watch_transformers(
    *, every: int | None = 100, path: str | Path | None = None, append: bool = False
) -> Any:
    """A callback of transformers' `Trainer` that watches a training, as `fanin.watch` does.

        trainer = Trainer(model, callbacks=[fanin.watch_transformers(path="signals.jsonl")], …)

    At the end of each epoch it notes what was logged last. The watch is in the callback's attribute
    ``watch``. transformers does not tell a callback of errors: after one, ``callback.stop()``, the
    next training, or the end of the callback's life removes what was installed.

    Args:
        every: as for `fanin.watch`.
        path: as for `fanin.watch`.
        append: as for `fanin.watch`.

    Raises `UsageError` if transformers is not installed.
    """
    try:
        base = import_module("transformers").TrainerCallback
    except ImportError:
        raise UsageError(
            "watch_transformers needs transformers, which is not installed: pip install "
            "transformers."
        ) from None

    class FaninCallback(base):  # type: ignore[misc, valid-type]
        """Watches a training of transformers' `Trainer`."""

        def __init__(self) -> None:
            self.watch: Watch | None = None
            self._logged: dict[str, float] = {}

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.stop("replaced by another training")
            self._logged = {}
            self.watch = Watch(given["model"], every=every, path=path, append=append).__enter__()

        def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self._logged |= _keep_numbers(given.get("logs") or {})

        def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.watch is not None:
                self.watch.epoch(**self._logged)

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.stop("finished")

        def stop(self, ending: str = "stopped") -> None:
            """Watch no more."""
            if self.watch is not None and self.watch.is_running:
                self.watch.stop(ending)

        def __del__(self) -> None:
            with contextlib.suppress(Exception):
                self.stop("given up")

    return FaninCallback()


def _find_lightning() -> Any:
    """Lightning under the name that the program uses, or else the one that is installed."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        with contextlib.suppress(ImportError):
            return import_module(name)
    raise UsageError(
        "watch_lightning needs Lightning, which is not installed: pip install lightning."
    )


def _keep_numbers(values: Any) -> dict[str, float]:
    """What is a number of the values that a trainer has logged."""
    found = {}
    for name, value in values.items():
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            number = float(value)
            if not math.isnan(number):
                found[str(name)] = number
    return found
