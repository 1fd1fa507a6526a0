"""A model without its wrappers, for as long as it is traced or observed.

A trace cannot look into `torch.compile`'s or a data parallel module, and their forward passes
compile and communicate, which reading a model must not do. The bare model has the same layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fanin.structure import find_wrapped, unwrap_model

_COMPILED = "_compiled_call_impl"
"""Where ``module.compile()`` keeps what it compiled."""


@contextmanager
def remove_wrappers(model: nn.Module) -> Iterator[nn.Module]:
    """The bare model, with bare modules inside; everything is put back at the end."""
    modules = list(model.modules())
    wrapped = [
        (parent, name, child)
        for parent in modules
        for name, child in parent._modules.items()
        if child is not None and find_wrapped(child) is not None and name != find_wrapped(parent)
    ]
    compiled = [(module, getattr(module, _COMPILED, None)) for module in modules]
    try:
        for parent, name, child in wrapped:
            parent._modules[name] = unwrap_model(child)
        for module, call in compiled:
            if call is not None:
                setattr(module, _COMPILED, None)
        yield unwrap_model(model)
    finally:
        for parent, name, child in wrapped:
            parent._modules[name] = child
        for module, call in compiled:
            if call is not None:
                setattr(module, _COMPILED, call)
