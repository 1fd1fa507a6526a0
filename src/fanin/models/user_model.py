"""User models: built by a user's function, and tried on two samples before any training.

``make(input_shape, outputs, *, option=default, …)`` returns an ``nn.Module`` that maps (N,
*input_shape) to (N, outputs). If it has a parameter `vocabulary`, it receives the number of
different tokens, None if inputs are not tokens. If it has a parameter `per_step`, it receives
whether each step has a target: then the module returns (N, steps, outputs). If the data have
several inputs, `input_shape` maps their names to their shapes, `vocabulary` those of tokens to
their numbers, and the module is called with the inputs by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakIdKeyDictionary

from fanin.data import InputPart
from fanin.errors import FitError
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.models.main_output import pick_output
from fanin.models.several_inputs import SeveralInputs
from fanin.user_code import MODEL, UserComponent, load_component

_SAMPLES = 2
"""More than one, so that batch normalization works."""


def load_entry(reference: str) -> ModelEntry:
    """The entry of a user's model; the same one as long as its file is the same."""
    return _make_entry(load_component(reference, MODEL))


@cache
def _make_entry(component: UserComponent) -> ModelEntry:
    return ModelEntry(
        name=component.name,
        summary=_read_summary(component),
        options=component.options,
        build=partial(build, component),
        input="own",
        task="any",
        channels_last=False,
        paper="",
    )


def _read_summary(component: UserComponent) -> str:
    """The first line of the callable's docstring."""
    lines = (inspect.getdoc(component.loaded.function) or "").splitlines()
    return lines[0] if lines else f"A user model ({component.name})."


def build(
    component: UserComponent,
    options: Any,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    vocabulary: int | None,
    per_step: bool,
    parts: tuple[InputPart, ...] = (),
) -> nn.Module:
    """The module that the component makes.

    On the meta device, where models are checked, it is also tried on a batch: nothing is allocated
    or computed there. A model that cannot be built or run on the meta device, because it reads its
    weights, is built and tried on the CPU instead.

    Raises `FitError` if the callable or its module raises an error, or returns something else than
    its contract says.
    """
    call = _Call(component, options, input_shape, outputs, vocabulary, per_step, parts)
    if torch.empty(0).device.type != "meta":
        return call.make_module()
    try:
        return call.make_and_try_module()
    except FitError as error:
        if error.__cause__ is None:  # a wrong return value, not an error raised by the user's code
            raise
    with torch.device("cpu"):
        return call.make_and_try_module()


@dataclass(frozen=True)
class _Call:
    """A component and what it is called with."""

    component: UserComponent
    options: Any
    input_shape: tuple[int, ...]
    outputs: int
    vocabulary: int | None
    per_step: bool
    parts: tuple[InputPart, ...]

    def make_module(self) -> nn.Module:
        shapes = {part.name: part.shape for part in self.parts}
        tokens = {part.name: part.vocabulary for part in self.parts if part.vocabulary}
        module: Any = self.component.call(
            self.options,
            shapes or self.input_shape,
            self.outputs,
            vocabulary=tokens or self.vocabulary,
            per_step=self.per_step,
        )
        if not isinstance(module, nn.Module):
            raise self.component.make_return_error(module)
        _require_new(module, self.component)
        whole: nn.Module = SeveralInputs(module, self.parts) if self.parts else module
        if any(is_lazy(parameter) for parameter in whole.parameters()):
            self._run(whole.eval())  # lazy layers learn their sizes from a batch
            whole.train()
        return whole

    def _run(self, module: nn.Module) -> Any:
        """What the module makes of a batch of zeros."""
        dtype = torch.float32 if self.vocabulary is None else torch.int64
        x = torch.zeros(_SAMPLES, *self.input_shape, dtype=dtype)
        subject = (
            f"{type(module).__name__} of {self.component.name}, on inputs of shape "
            f"{tuple(x.shape)},"
        )
        with self.component.guard(subject), torch.no_grad():
            return module(x)

    def make_and_try_module(self) -> nn.Module:
        """The module, if it maps a batch of zeros to a tensor of the right shape."""
        module = self.make_module()
        inner = module.model if isinstance(module, SeveralInputs) else module
        name, shape = type(inner).__name__, (_SAMPLES, *self.input_shape)
        output = self._run(module)
        steps = (self.input_shape[0],) if self.per_step else ()
        expected = (_SAMPLES, *steps, self.outputs)
        main = pick_output(output) if isinstance(output, (tuple, list, Mapping)) else output
        if not isinstance(main, Tensor) or tuple(main.shape) != expected:
            raise self.component.make_return_error(
                module,
                f"a {name} that maps {shape} to {_describe_output(main)}, not to {expected}",
            )
        return module


def _require_new(module: nn.Module, component: UserComponent) -> None:
    """Raise `FitError` if a module holds tensors that an earlier one holds, which still lives.

    Otherwise a cell would go on training what another one has trained.
    """
    tensors = [*module.parameters(), *module.buffers()]  # lazy ones become real in place
    if module in _MADE or any(tensor in _HELD for tensor in tensors):
        raise component.make_return_error(
            module, "a module, or one with parameters or buffers, that it has returned before"
        )
    _MADE[module] = None
    for tensor in tensors:
        _HELD[tensor] = None


_MADE = WeakIdKeyDictionary()
_HELD = WeakIdKeyDictionary()
"""The modules made so far, and their tensors, as long as anybody else holds them."""


def _describe_output(output: object) -> str:
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    return f"a {type(output).__name__}"


REGISTRY.load_user_entries_with(load_entry)
