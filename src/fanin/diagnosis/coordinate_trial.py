"""One model, trained for some steps on one batch, with what its layers put out measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fanin import losses, seeds
from fanin.errors import FaninError, FitError, UsageError, quote
from fanin.structure import unwrap_name
from fanin.structure.forward_tracing import collect_tensors, split_batch

OUTPUT = "the output"


@dataclass
class Trial:
    """Mean |x| and mean |x - x(0)| of each layer's output, by step from 0."""

    sizes: dict[str, list[float]] = field(default_factory=dict)
    changes: dict[str, list[float]] = field(default_factory=dict)

    @property
    def finite(self) -> dict[str, bool]:
        """Of each layer, whether all its numbers were finite."""
        return {layer: all(map(math.isfinite, sizes)) for layer, sizes in self.sizes.items()}


def train_some_steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Any,
    target: Any,
    loss: losses.LossFunction | None,
    steps: int,
    width: int,
) -> Trial:
    """Measure the model before its first update and after each of `steps` updates."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    trial, meter = Trial(), _Meter(model)
    with torch.inference_mode(False), torch.enable_grad(), meter.attach():
        for step in range(steps + 1):
            output = _run(model, batch, f"the model of width {width} at step {step}")
            meter.note(OUTPUT, output)
            meter.write(trial)
            if step < steps:
                _update(optimizer, output, target, loss)
    return trial


def _run(model: nn.Module, batch: Any, what: str) -> Any:
    args, kwargs = split_batch(batch)
    try:
        with seeds.preserve_global_state(0):
            return model(*args, **kwargs)
    except FaninError:
        raise
    except Exception as error:
        raise FitError(
            f"The forward pass of {what} failed: {type(error).__name__}: "
            f"{quote(str(error), 300)}. Expected batch= to be what models of every width take, or "
            "a function of the width."
        ) from error


def _update(
    optimizer: torch.optim.Optimizer, output: Any, target: Any, loss: losses.LossFunction | None
) -> None:
    found = losses.compute_loss(output, target, loss)
    if found.kind == "cotangent":
        raise UsageError(
            "coordinate_check trains: give target=, the labels of the batch, or loss=, a function "
            "of (output, target)."
        )
    optimizer.zero_grad(set_to_none=True)
    found.value.backward()
    optimizer.step()


class _Meter:
    """Collects what layers put out in one pass, and compares it with the first pass."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._outputs: dict[str, list[Tensor]] = {}
        self._first: dict[str, list[Tensor]] = {}

    @contextmanager
    def attach(self) -> Iterator[None]:
        """Look at every module that holds parameters of its own."""
        handles = []
        for path, module in self._model.named_modules():
            if any(True for _ in module.parameters(recurse=False)):
                layer = unwrap_name(self._model, path) or OUTPUT
                handles.append(module.register_forward_hook(self._make_hook(layer)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _make_hook(self, layer: str) -> Any:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            self.note(layer, output)

        return look

    def note(self, layer: str, output: Any) -> None:
        """Remember the real numbers of an output."""
        real = [
            one.detach().float().clone()
            for one in collect_tensors(output)
            if one.is_floating_point() and one.numel()
        ]
        if layer == OUTPUT:
            self._outputs[layer] = real
        else:
            self._outputs.setdefault(layer, []).extend(real)

    def write(self, trial: Trial) -> None:
        """Add the sizes of this pass, and the changes since the first one, to the trial."""
        if not self._first:
            self._first = self._outputs
        for layer, tensors in self._outputs.items():
            before = self._first.get(layer, [])
            if not tensors or [one.shape for one in before] != [one.shape for one in tensors]:
                continue
            moved = [now - then for now, then in zip(tensors, before, strict=True)]
            trial.sizes.setdefault(layer, []).append(_measure_size(tensors))
            trial.changes.setdefault(layer, []).append(_measure_size(moved))
        self._outputs = {}


def _measure_size(tensors: list[Tensor]) -> float:
    """The mean of |x| over all entries."""
    total = sum(one.abs().double().sum().item() for one in tensors)
    return total / sum(one.numel() for one in tensors)
