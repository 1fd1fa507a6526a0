"""`fanin.watch`: the signals and gradients of a training loop of one's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from fanin.errors import FaninError, UsageError, quote
from fanin.structure import unwrap_model
from fanin.watching.layer_reading import Reading
from fanin.watching.signal_log import (
    EpochEnd,
    SignalFile,
    SignalLog,
    encode_epoch,
    encode_reading,
    read_log,
)
from fanin.watching.signal_probe import SignalProbe
from fanin.watching.watched_layers import describe_watched


def watch(
    model: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    every: int | None = 100,
    path: str | Path | None = None,
    append: bool = False,
) -> Watch:
    """Watch a training loop: how large signals and gradients are in each layer, which units die,
    and how much each step changes the weights.

        with fanin.watch(model, path="signals.jsonl") as watch:
            for epoch in range(10):
                …                               # the loop as it is
                watch.epoch(loss=loss)          # optional
        print(watch)

    The training stays what it is, bit for bit: no random number is drawn, no extra pass is run, and
    nothing of the model or the optimizer is changed. Everything is removed at the end, also if the
    loop raises an error. What a measured step costs is in docs/watch.md.

    ``fanin report signals.jsonl`` draws what was written, also while the training runs.

    Args:
        model: what is trained; also wrapped in `DistributedDataParallel`, or sharded by
            `fully_shard` (then all processes have to watch it, since norms are summed over them).
            Of a compiled model gradients, weights and updates are measured, not what its layers put
            out.
        optimizer: whose steps are counted; by default that of the first step which changes
            parameters of the model.
        every: measure the first step, and then one of so many; None for the first step of each
            epoch only. `Watch.epoch` begins an epoch, whose first step is measured in any case.
        path: a file for what is measured, as JSON lines. A file of an earlier watch is replaced;
            anything else is left alone. Of several processes the one of rank 0 writes.
        append: continue the file of an earlier watch, and its numbers of steps and epochs.

    Raises:
        UsageError: not a module, or `every` is no positive number.
        FitError: FullyShardedDataParallel (FSDP1) has made flat pieces of the parameters.
        OutputError: the file cannot be written, or holds something else.
    """
    return Watch(model, optimizer, every=every, path=path, append=append)


class Watch:
    """A training that is watched: a context, see `fanin.watch`. ``print(watch)`` says what was
    seen.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        *,
        every: int | None = 100,
        path: str | Path | None = None,
        append: bool = False,
    ) -> None:
        if every is not None and (type(every) is not int or every < 1):
            raise UsageError(
                f"every counts steps between two measurements, such as 100, or is None; received "
                f"{quote(every)}."
            )
        if optimizer is not None and not callable(getattr(optimizer, "step", None)):
            raise UsageError(
                f"Expected an optimizer of torch, received {quote(optimizer)}. Leave it out: the "
                "optimizer of the model's parameters is found when it takes a step."
            )
        self._probe = SignalProbe(model, self._give_up)
        self._has_lazy = any(map(_is_lazy, model.parameters())) if _is_module(model) else False
        if not self._has_lazy:
            describe_watched(model)  # says now what cannot be watched
        self._model, self._optimizer, self._every = model, optimizer, every
        self._path, self._append = path, append
        self._file: SignalFile | None = None
        self._handles: list[RemovableHandle] = []
        self._ids: frozenset[int] = frozenset()
        self._is_due = True
        self._is_measured = True
        self.step = 0
        """Steps of the optimizer so far."""
        self.epochs = 0
        """Epochs completed so far."""
        self.log = SignalLog(
            type(unwrap_model(model)).__name__, {"torch": torch.__version__, "every": every}
        )

    def __enter__(self) -> Watch:
        """Begin to watch."""
        if self._handles:
            raise UsageError("This watch runs already. Make another with fanin.watch(…).")
        if self._path is not None and _get_rank() == 0:
            self._open_file(Path(self._path))
        self._handles = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        self._note_limits()
        self._prepare()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Watch no more. An error of the loop is noted, and goes on."""
        self.stop("finished" if error is None else f"{type(error).__name__}: {error}")

    @property
    def is_running(self) -> bool:
        """Whether the training is watched now."""
        return bool(self._handles)

    def stop(self, ending: str = "finished") -> None:
        """Watch no more: remove what was installed, and close the file."""
        self._probe.cancel()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.log.ending = ending
        self._write({"end": ending})
        if self._file is not None:
            self._file.close()
            self._file = None

    def epoch(self, **metrics: Any) -> None:
        """End an epoch: note its metrics, and measure the next step.

        Args:
            metrics: numbers, or tensors of one number, such as ``loss=loss``.
        """
        self.epochs += 1
        end = EpochEnd(self.epochs, self.step, {k: _to_number(k, v) for k, v in metrics.items()})
        self.log.epochs.append(end)
        self._write(encode_epoch(end))
        self._is_due = True
        self._prepare()

    def __str__(self) -> str:
        return str(self.log)

    def __repr__(self) -> str:
        return f"<Watch of {self.log.model}: {len(self.log.readings)} readings>"

    def _open_file(self, path: Path) -> None:
        if self._append and path.exists() and path.stat().st_size:
            before = read_log(path)
            self.log.readings[:], self.log.epochs[:] = before.readings, before.epochs
            steps = [one.step for one in before.readings] + [one.step for one in before.epochs]
            self.step = max(steps, default=0)
            self.epochs = max((one.epoch for one in before.epochs), default=0)
        self._file = SignalFile(path, self.log, append=self._append)

    def _note_limits(self) -> None:
        if not self._has_lazy and self._probe.watched.is_compiled:
            self._note(
                "The model is compiled, so what its layers put out is not measured: to look inside "
                "would compile other code. Gradients, weights and updates are."
            )
        if type(self._model).__name__ == "DataParallel":
            self._note(
                "DataParallel runs copies of the model, whose outputs are not measured. Gradients, "
                "weights and updates are."
            )

    def _prepare(self) -> None:
        """Open the probe if the next step is to be measured."""
        every = self._every
        if every is not None and self.step % every == 0:
            self._is_due = True
        has_shapes = not self._has_lazy or not any(map(_is_lazy, self._model.parameters()))
        if self._is_due and self._is_measured and self._handles and has_shapes:
            if not self._probe.is_open:
                self._probe.open()
            self._is_due = False

    def _is_ours(self, optimizer: Optimizer) -> bool:
        """Whether a step of an optimizer is a step of this training."""
        if self._optimizer is optimizer:
            return True
        if self._optimizer is not None and not _is_wrapped(self._optimizer, optimizer):
            return False
        self._ids = self._ids or frozenset(map(id, self._model.parameters()))
        groups = optimizer.param_groups
        if not any(id(one) in self._ids for group in groups for one in group["params"]):
            return False
        if self._optimizer is None:
            self._optimizer = optimizer
        return True

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._probe.is_open and self._is_ours(optimizer):
            scale = getattr(optimizer, "grad_scale", None)
            try:
                self._probe.prepare_step(
                    1.0 if scale is None else float(scale), has_closure=_has_closure(args, kwargs)
                )
            except Exception as error:
                self._give_up(error)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._is_ours(optimizer):
            return
        self.step += 1
        if self._probe.is_open:
            try:
                reading = Reading(self.step, self.epochs, self._probe.close())
                self.log.readings.append(reading)
                self._write(encode_reading(reading))
            except Exception as error:
                self._give_up(error)
        self._prepare()

    def _give_up(self, error: Exception) -> None:
        """A measurement that fails must not end somebody's training."""
        self._is_measured = False
        self._probe.cancel()
        self._note(
            f"No measurement from step {self.step + 1} on: {type(error).__name__}: {error}. The "
            "training goes on."
        )
        warnings.warn(f"fanin.watch: {self.log.notes[-1]}", stacklevel=3)

    def _note(self, text: str) -> None:
        self.log.notes.append(text)
        self._write({"note": text})

    def _write(self, record: dict[str, Any]) -> None:
        """A disk that is full must not end somebody's training either."""
        if self._file is None:
            return
        try:
            self._file.write(record)
        except FaninError as error:
            self._file.close()
            self._file = None
            self.log.notes.append(f"Not written from step {self.step + 1} on: {error}")
            warnings.warn(f"fanin.watch: {self.log.notes[-1]}", stacklevel=3)


def _is_wrapped(wrapper: Any, optimizer: Optimizer) -> bool:
    """Whether the steps of a wrapper, such as accelerate's, are those of an optimizer."""
    return getattr(wrapper, "optimizer", getattr(wrapper, "_optimizer", None)) is optimizer


def _has_closure(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a step runs forward and backward pass itself; the optimizer comes first in `args`."""
    return any(callable(one) for one in (*args[1:], kwargs.get("closure")))


def _is_module(model: object) -> bool:
    return isinstance(model, nn.Module)


def _is_lazy(parameter: Any) -> bool:
    return bool(nn.parameter.is_lazy(parameter))


def _get_rank() -> int:
    """The rank of this process; 0 where there is one only."""
    distributed = torch.distributed
    has_several = distributed.is_available() and distributed.is_initialized()
    return distributed.get_rank() if has_several else 0


def _to_number(name: str, value: Any) -> float:
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"{name} must be a number, or a tensor of one number; received {quote(value)}."
        ) from None


__all__ = ["Watch", "watch"]
