"""The arguments of one call: which of them are computed, which are weights, and how to make the
call again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn


@dataclass(frozen=True)
class WeightSource:
    """What a tensor is that was made of parameters alone: the weights of these layers."""

    owners: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    """Their qualified names."""
    vectors: tuple[str, ...] = ()
    """The qualified names of parameters of fewer than two axes among them: scales and biases."""
    computed: bool = False
    """Whether the tensor was computed from them, and not only moved: 1 + γ, or exp(γ)."""


_OPERANDS = ("input", "other")

Source = int | WeightSource
"""Where a tensor comes from: the index of a node, or the weights that it was made of. Constants
have none.
"""

FindSource = Callable[[Any], Source | None]


@dataclass(frozen=True)
class _Placeholder:
    """The place of a computed tensor among the arguments."""

    position: int


class CallArguments:
    """The arguments of one call, read once.

    Attributes:
        inputs: the nodes among them, each once, in order.
        slots: as `inputs`, with repetitions.
        owners: the layers whose weights are among them.
        parameters: the names of these weights.
        direct: whether these weights were given as they are, or as views, not as what was computed
            from them.
        vectors: the names of parameters of fewer than two axes among them.
        unchanged: whether all parameters were given as they are, moved or in another dtype.
        args, kwargs: the arguments with a placeholder for each computed tensor.
    """

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any], find: FindSource) -> None:
        self.inputs: list[int] = []
        self.slots: list[int] = []
        self.owners: list[str] = []
        self.parameters: list[str] = []
        self.direct = True
        self.vectors: list[str] = []
        self.unchanged = True
        self._find = find
        self._complete = True
        self.args = [self._read(value) for value in args]
        self.kwargs = {key: self._read(value) for key, value in kwargs.items()}
        del self._find  # it would keep every tensor of the pass alive

    def get_node(self, position: int, keyword: str) -> int | None:
        """The node that was passed as one argument, by its position or keyword; None if that is
        no node.
        """
        value = self.args[position] if position < len(self.args) else self.kwargs.get(keyword)
        return self.inputs[value.position] if isinstance(value, _Placeholder) else None

    def get_option(self, position: int, keyword: str) -> Any:
        """One argument that is no tensor, by its position or keyword; None if it was not given."""
        value = self.args[position] if position < len(self.args) else self.kwargs.get(keyword)
        return None if isinstance(value, _Placeholder) else value

    def list_constants(self) -> list[float | None]:
        """The numbers among the arguments, without those that are computed or parameters' names;
        None for a larger tensor.
        """
        found: list[float | None] = []
        keywords = (self.kwargs[key] for key in _OPERANDS if key in self.kwargs)
        for value in (*self.args, *keywords):
            if isinstance(value, (int, float, Tensor)) and not _is_complex(value):
                found.append(float(value))
            elif not isinstance(value, _Placeholder):
                found.append(None)
        return found

    def call_again(self, function: Callable[..., Any] | None) -> Callable[..., Tensor] | None:
        """The call as a function of the values of `inputs`; None if it needs tensors that are
        not among them.
        """
        if function is None or not self._complete:
            return None
        args, kwargs = tuple(self.args), dict(self.kwargs)

        def again(*values: Tensor) -> Tensor:
            result: Tensor = function(*_substitute(args, values), **_substitute(kwargs, values))
            return result

        return again

    def _read(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._read(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._read(item) for item in value]
        source = self._find(value)
        if isinstance(source, int):
            return self._add_placeholder(source)
        if isinstance(source, WeightSource):
            self.owners += [owner for owner in source.owners if owner not in self.owners]
            self.parameters += [name for name in source.parameters if name not in self.parameters]
            self.vectors += [name for name in source.vectors if name not in self.vectors]
            self.unchanged &= not source.computed
            if source.parameters:
                self.direct &= _is_stored(value)
        return self._keep_constant(value)

    def _add_placeholder(self, source: int) -> _Placeholder:
        self.slots.append(source)
        if source not in self.inputs:
            self.inputs.append(source)
        return _Placeholder(self.inputs.index(source))

    def _keep_constant(self, value: Any) -> Any:
        """A single number is kept. A larger tensor would have to fit what it meets, so that there
        is no calling again.
        """
        if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
            return value.detach().clone()
        if isinstance(value, (Tensor, fx.Node)):
            self._complete = False
            return None
        return value


def _is_complex(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_complex()


def _is_stored(value: Any) -> bool:
    """Whether a tensor is a parameter, or a view of one."""
    return isinstance(value, nn.Parameter) or isinstance(
        getattr(value, "_base", None), nn.Parameter
    )


def _substitute(template: Any, values: Sequence[Tensor]) -> Any:
    if isinstance(template, _Placeholder):
        return values[template.position]
    if isinstance(template, dict):
        return {key: _substitute(item, values) for key, item in template.items()}
    if isinstance(template, (list, tuple)):
        return [_substitute(item, values) for item in template]
    return template
