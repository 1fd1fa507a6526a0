"""Parameters that a pass computes with and that `model.parameters()` does not list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fanin.diagnosis.measurement import StrayParameter

_MODULE_STATE = frozenset(vars(nn.Module()))
"""Where a module keeps what it lists, hooks and flags."""


class StrayCollector:
    """Collects the leaves of the gradient's graph that are given to a function and are neither
    parameters of the model nor inputs.
    """

    def __init__(self, model: nn.Module, inputs: list[Tensor]) -> None:
        self._model = model
        self._known = {id(one) for one in (*model.parameters(), *model.buffers(), *inputs)}
        self._found: dict[int, tuple[Tensor, str]] = {}

    def look_at(self, args: Any, caller: str) -> None:
        """Note what a function gets that is called in the module of that path."""
        if isinstance(args, Tensor):
            self._look_at_tensor(args, caller)
        elif isinstance(args, (list, tuple)):
            for one in args:
                self.look_at(one, caller)
        elif isinstance(args, Mapping):
            for one in args.values():
                self.look_at(one, caller)

    def _look_at_tensor(self, tensor: Tensor, caller: str) -> None:
        if id(tensor) in self._known:
            return
        with torch._C.DisableTorchFunction():
            is_stray = isinstance(tensor, nn.Parameter) and tensor.requires_grad
        if is_stray and torch.is_grad_enabled():
            # It is kept, so that its id stays its own.
            self._found.setdefault(id(tensor), (tensor, caller))

    def list_found(self) -> tuple[StrayParameter, ...]:
        """What was found, with the attribute that holds it."""
        if not self._found:
            return ()
        held = {id(one): (owner, name) for owner, name, one in _list_hidden(self._model)}
        found = []
        for key, (tensor, caller) in self._found.items():
            owner, name = held.get(key, (caller, ""))
            found.append(StrayParameter(owner=owner, name=name, shape=tuple(tensor.shape)))
        return tuple(found)


def _list_hidden(model: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """The parameters in lists, tuples and dicts that are attributes of modules: the owner's path,
    where it is held, and the parameter.
    """
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in _MODULE_STATE:
                for place, parameter in _search(value, f"{path}.{name}".strip("."), 0):
                    yield path, place, parameter


def _search(value: Any, place: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, nn.Module):
        for name, parameter in value.named_parameters():
            yield f"{place}.{name}", parameter
    elif isinstance(value, nn.Parameter):
        yield place, value
    elif depth < 3 and isinstance(value, (list, tuple)):
        for index, one in enumerate(value):
            yield from _search(one, f"{place}[{index}]", depth + 1)
    elif depth < 3 and isinstance(value, dict):
        for key, one in value.items():
            yield from _search(one, f"{place}[{key!r}]", depth + 1)
