"""Calling a caller's function that fills modules: for each module of a model, or once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import torch
from torch import nn

from fanin import seeds
from fanin.errors import FitError, UsageError, quote
from fanin.structure import unwrap_name

Materialize = Callable[..., object]
"""A function of one module, called for every module from the inside out as ``model.apply`` does
(with ``name=``, its path, if it takes a name), or one without arguments, called once.
"""

_USUAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def read_call(function: object) -> Callable[[str, nn.Module], object] | None:
    """How to call the function for a path and its module; None if it is called once for all."""
    if not callable(function):
        raise UsageError(
            "materialize is a function that fills a module, such as model._init_weights, or one "
            f"without arguments, not {quote(function)}."
        )
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # one that is written in C
        return lambda path, module: function(module)
    takes = [
        one.kind is one.VAR_POSITIONAL
        or (one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, _USUAL))
        for one in parameters
    ]
    if not any(takes):
        return None
    if any(one.name == "name" for one in parameters):
        return lambda path, module: function(module, name=path)
    return lambda path, module: function(module)


def run_function(
    model: nn.Module,
    call: Callable[[str, nn.Module], object] | None,
    function: Materialize,
    device: torch.device,
    seed: int,
) -> None:
    """Call the function, for each module under a random stream of its own."""
    modules = _list_inside_out(model) if call is not None else [("", model)]
    for path, module in modules:
        stream = seeds.derive_stream(seed, "materialize", unwrap_name(model, path))
        try:
            with seeds.preserve_global_state(stream), torch.no_grad(), device:
                if call is None:
                    function()
                else:
                    call(path, module)
        except Exception as error:  # a user's function may fail in any way
            where = f" for {path or 'the model'} ({type(module).__name__})" if call else ""
            lines = str(error).splitlines() or [""]
            raise FitError(
                f"materialize failed{where}, so nothing was changed: {type(error).__name__}: "
                f"{lines[0]}"
            ) from error


def _list_inside_out(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module once, children before the one that holds them: the order of ``model.apply``."""
    return list(_walk_inside_out("", model, set()))


def _walk_inside_out(
    path: str, module: nn.Module, seen: set[nn.Module]
) -> Iterator[tuple[str, nn.Module]]:
    seen.add(module)
    for name, child in module.named_children():
        if child not in seen:
            yield from _walk_inside_out(f"{path}.{name}" if path else name, child, seen)
    yield path, module
