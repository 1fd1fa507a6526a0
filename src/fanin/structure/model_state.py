"""Restore a model after a forward pass: attributes, training flags and buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from fanin import seeds

_TABLES = ("_parameters", "_buffers", "_modules")


@contextmanager
def preserve_model(model: nn.Module) -> Iterator[None]:
    """Run a model without gradients, and put back what that changed: its own state, and the global
    random states.
    """
    with ExitStack() as stack:
        stack.enter_context(seeds.preserve_python_state())
        stack.enter_context(seeds.preserve_torch_state(0))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_preserve_buffers(model))
        stack.enter_context(_preserve_attributes(model))
        stack.enter_context(_disable_fast_path())
        yield


@contextmanager
def require_gradients(model: nn.Module) -> Iterator[None]:
    """Gradients flow from every parameter that can have one, frozen or not; afterwards the flags
    are as before.
    """
    changed = [
        parameter
        for parameter in model.parameters()
        if not parameter.requires_grad
        and parameter.is_leaf
        and not parameter.is_inference()
        and (parameter.is_floating_point() or parameter.is_complex())
    ]
    try:
        for parameter in changed:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(False)


@contextmanager
def _preserve_attributes(model: nn.Module) -> Iterator[None]:
    """What every name means, in every module: flags, counters, caches, buffers that are replaced
    rather than written, and what lists, dicts and sets of the module's own hold.

    torch.fx, too, puts constants on the model that it traces.
    """
    own = [vars(module) for module in model.modules()]
    kept = [
        (value, value.copy())
        for names in own
        for key, value in names.items()
        if type(value) in (list, dict, set) and key not in _TABLES
    ]
    held = [
        (names, dict(names))
        for names in (*own, *(names[table] for names in own for table in _TABLES if table in names))
        if isinstance(names, dict)  # those of a scripted module cannot be written
    ]
    try:
        yield
    finally:
        for names, before in held:
            names.clear()
            names.update(before)
        for value, before in kept:
            value.clear()
            if isinstance(value, list):
                value.extend(before)
            else:
                value.update(before)


@contextmanager
def _preserve_buffers(model: nn.Module) -> Iterator[None]:
    copies = [(buffer, buffer.detach().clone()) for buffer in model.buffers() if not buffer.is_meta]
    try:
        yield
    finally:
        for buffer, copy in copies:
            _restore(buffer, copy)


def _restore(buffer: Tensor, copy: Tensor) -> None:
    if not torch.equal(
        buffer, copy
    ):  # an unchanged buffer stays as it is: an expanded one cannot be written
        buffer.copy_(copy)


@contextmanager
def _disable_fast_path() -> Iterator[None]:
    """In eval mode, torch's transformer layers are otherwise one fused call in which nothing can be
    seen.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
