"""Which axes of a parameter the dimensions of a view of it are.

A view shares the parameter's memory, so its strides tell: a dimension of stride s runs along the
axis whose stride is the largest one that divides s. A copy in another dtype or order is followed by
its dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_COPIES = frozenset(
    ("to", "type", "type_as", "float", "half", "bfloat16", "double", "cuda", "cpu")
) | {"contiguous", "clone", "detach"}
"""Functions whose result has the dimensions of their first argument."""
_LOOKUPS = frozenset(("getitem", "index_select"))


@dataclass(frozen=True)
class ParameterView:
    """A tensor whose numbers are those of a parameter."""

    name: str
    """The qualified name of the parameter."""
    axes: tuple[tuple[int, ...], ...]
    """For each dimension, the axes of the parameter that it runs along; none for a new one."""
    looked_up: bool = False
    """Whether a tensor of indices chose its rows."""


class ParameterViews:
    """Finds the parameter behind a tensor: by memory, or because a copy was seen to be made."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self._parameters = parameters
        self._by_memory = {one.untyped_storage()._cdata: name for name, one in parameters.items()}
        self._copies: dict[int, ParameterView] = {}
        self._alive: list[Tensor] = []

    def find(self, value: Any) -> ParameterView | None:
        """The view that a value is; None if it is none."""
        if not isinstance(value, Tensor):
            return None
        if id(value) in self._copies:
            return self._copies[id(value)]
        if value.layout is not torch.strided or type(value) not in (Tensor, nn.Parameter):
            return None
        name = self._by_memory.get(value.untyped_storage()._cdata)
        return None if name is None else ParameterView(name, self._read_axes(name, value))

    def follow_copy(self, function: str, args: tuple[Any, ...], result: Any) -> None:
        """Note that a function copied a view into other memory."""
        source = self.find(args[0]) if args else None
        if source is None or not isinstance(result, Tensor) or self.find(result) is not None:
            return
        if function in _COPIES and result.dim() == len(source.axes):
            self._note(result, source)
        elif function in _LOOKUPS:
            kept = self._parameters[source.name].dim() - 1
            if source.axes == tuple((axis,) for axis in range(kept + 1)) and result.dim() >= kept:
                new: tuple[tuple[int, ...], ...] = ((),) * (result.dim() - kept)
                self._note(
                    result, ParameterView(source.name, (*new, *source.axes[1:]), looked_up=True)
                )

    def _note(self, tensor: Tensor, view: ParameterView) -> None:
        self._copies[id(tensor)] = view
        self._alive.append(tensor)  # an id means one tensor only while that lives

    def _read_axes(self, name: str, view: Tensor) -> tuple[tuple[int, ...], ...]:
        parameter = self._parameters[name]
        strides = [
            (parameter.stride(axis), axis)
            for axis in range(parameter.dim())
            if parameter.shape[axis] > 1
        ]
        return tuple(
            _match_axes(size, stride, strides, parameter)
            for size, stride in zip(view.shape, view.stride(), strict=True)
        )


def _match_axes(
    size: int, stride: int, strides: list[tuple[int, int]], parameter: Tensor
) -> tuple[int, ...]:
    """The axis of a dimension, and those above it that it covers too because they were merged."""
    below = [(step, axis) for step, axis in strides if step <= stride and stride % step == 0]
    if size == 1 or stride == 0 or not below:
        return ()
    step, axis = max(below)
    found, reached = [axis], step * parameter.shape[axis]
    for further, other in sorted(strides):
        if further == reached and further < stride * size:
            found.insert(0, other)
            reached = further * parameter.shape[other]
    return tuple(found)
