"""The forward pass of one training step, seen without touching the model.

Hooks that torch calls for every module are used, and not hooks of the model's own modules: a copy
of the model (an average of weights, a saved file) takes no hook along, and torch's fast paths in
evaluation, which the hooks of a module switch off, stay as they are. They are there during the
steps that are measured only. Activations that are called as functions are seen by a
`TorchFunctionMode`, which is active inside the model's own forward pass.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from fanin.diagnosis.probe.signal_statistics import Moments, measure_moments
from fanin.structure.forward_tracing import collect_tensors
from fanin.structure.function_kinds import normalize_name, render_activation
from fanin.watching.layer_reading import ROOT
from fanin.watching.saturation import find_flat
from fanin.watching.watched_layers import WatchedModel

_WITH_PARAMETERS = ("prelu", "rrelu")
"""Activations that `render_activation` has no spec for."""

_BY_CHANNEL = (nn.modules.conv._ConvNd,)


@dataclass
class UnitCounts:
    """Units of activations, added up over a pass."""

    units: int = 0
    dead: float = 0.0
    numbers: int = 0
    """Of bounded activations."""
    flat: float = 0.0


@dataclass(frozen=True)
class _Call:
    """A call of a module that has not returned."""

    module: int
    is_watched: bool
    """Whether what happens inside is measured."""


class ForwardWatch(TorchFunctionMode):
    """Measures what layers and activations put out, once each, between `install` and `remove`.

    Of several passes of a step (accumulated gradients, checkpoints that compute again in the
    backward pass) the first counts, and of a layer that is used several times the first use.

    Args:
        watched: the model.
        fail: called with an error of a measurement, which must not reach the model's own code.
    """

    def __init__(self, watched: WatchedModel, fail: Callable[[Exception], None]) -> None:
        super().__init__()
        self._watched, self._fail = watched, fail
        self._handles: list[RemovableHandle] = []
        self._calls: list[_Call] = []
        self._is_entered = False
        self._seen: set[int] = set()
        self._sources: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        """By the id of a layer's output, that and the layer's name."""
        self._latest = ROOT
        """The layer that was computed last."""
        self._by_channel: dict[str, bool] = {}
        """By layer, whether axis 1 counts its units."""
        self.found: dict[str, dict[str, float]] = {}
        """By layer or activation, in the order of computation."""
        self.counts = UnitCounts()

    def install(self) -> None:
        """Begin to watch."""
        if self._watched.is_compiled:
            return
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]

    def remove(self) -> None:
        """Watch no more, wherever the pass is."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._calls.clear()
        self._leave_mode()
        self._sources.clear()

    def _enter(self, module: nn.Module, args: Any) -> None:
        key = id(module)
        if key not in self._watched.inside:
            return
        if not self._calls and not (torch.is_grad_enabled() and self._watched.model.training):
            return  # an evaluation
        is_new = key not in self._seen
        if self._calls:
            # One ReLU may serve a whole model; a block that is called again is the same layers.
            is_watched = self._calls[-1].is_watched and (
                is_new or key not in self._watched.stateful
            )
        else:
            is_watched = is_new
        self._calls.append(_Call(key, is_watched))
        if is_watched:
            self._seen.add(key)
        if is_watched and not self._is_entered:
            self.__enter__()  # type: ignore[no-untyped-call]
            self._is_entered = True

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._calls or self._calls[-1].module != id(module):
            return
        call = self._calls.pop()
        if not self._calls:
            self._leave_mode()
        name = self._watched.names.get(call.module)
        if call.is_watched and name is not None and name not in self.found:
            self._attempt(lambda: self._measure_layer(name, module, output))

    def _leave_mode(self) -> None:
        if self._is_entered:
            self._is_entered = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        result = func(*args, **keywords)
        if self._calls and self._calls[-1].is_watched and isinstance(result, Tensor):
            name = normalize_name(getattr(func, "__name__", ""))
            if name in _WITH_PARAMETERS or render_activation(name, (), {}) is not None:
                self._attempt(lambda: self._measure_activation(name, args, keywords, result))
        return result

    def _attempt(self, measure: Callable[[], None]) -> None:
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                measure()
        except Exception as error:
            self.remove()
            self._fail(error)

    def _measure_layer(self, name: str, module: nn.Module, output: Any) -> None:
        tensors = [one for one in collect_tensors(output) if one.is_floating_point()]
        if not tensors:
            return
        first = tensors[0]
        self.found[name] = _list_moments(measure_moments(first))
        self._by_channel[name] = isinstance(module, _BY_CHANNEL)
        self._sources[id(first)] = weakref.ref(first), name
        self._latest = name

    def _measure_activation(
        self, function: str, args: Sequence[Any], keywords: Mapping[str, Any], output: Tensor
    ) -> None:
        if not output.is_floating_point():
            return
        layer = self._find_source(args[0] if args else None)
        values = _list_moments(measure_moments(output))
        by_channel = self._by_channel.get(layer, False) and output.dim() > 1
        axis = 1 if by_channel else output.dim() - 1
        others = [one for one in range(output.dim()) if one != axis]
        dead = (output == 0).all(dim=others) if others else output == 0
        values["zero_units"] = float(dead.float().mean()) if dead.numel() else 0.0
        self.counts.units += dead.numel()
        self.counts.dead += values["zero_units"] * dead.numel()
        flat = find_flat(function, output, args[1:], keywords)
        if flat is not None and flat.numel():
            values["saturated"] = float(flat.float().mean())
            units = flat.all(dim=others) if others else flat
            values["saturated_units"] = float(units.float().mean())
            self.counts.numbers += flat.numel()
            self.counts.flat += values["saturated"] * flat.numel()
        name, number = f"{layer}:{function}", 2
        while name in self.found:
            name, number = f"{layer}:{function}.{number}", number + 1
        self.found[name] = values

    def _find_source(self, value: Any) -> str:
        """The layer whose output a value is, or else the one that was computed last."""
        reference, name = self._sources.get(id(value), (None, ""))
        return name if reference is not None and reference() is value else self._latest


def _list_moments(moments: Moments) -> dict[str, float]:
    rms = moments.rms if moments.finite else math.inf  # nan means that nothing was measured
    return {"mean": moments.mean, "std": moments.std, "rms": rms}
