"""Models that FSDP has sharded. ``fully_shard`` (FSDP2) keeps every parameter, as a DTensor; its
forward pass gathers them, which reading a model must not do. The older FullyShardedDataParallel
(FSDP1) has flat pieces of several parameters, which must be gathered before they can be told apart.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fanin.errors import FitError

_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def list_sharded_modules(model: nn.Module) -> list[nn.Module]:
    """The modules of a model to which ``fully_shard`` was applied."""
    fsdp = sys.modules.get("torch.distributed.fsdp")  # not imported: then nothing is
    kind = getattr(fsdp, "FSDPModule", None)
    return (
        [] if kind is None else [module for module in model.modules() if isinstance(module, kind)]
    )


@contextmanager
def gather_flat_parameters(model: nn.Module) -> Iterator[None]:
    """Inside, a model under FSDP1 has its whole parameters, in every process; at the end each keeps
    its share of what was written.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FullyShardedDataParallel", None)
    if kind is None or not any(isinstance(module, kind) for module in model.modules()):
        yield
        return
    with kind.summon_full_params(model, writeback=True):
        yield


@contextmanager
def suspend_gathering(model: nn.Module, *, observed: bool) -> Iterator[None]:
    """Inside, tracing the model runs none of the hooks that gather its parameters.

    Raises `FitError` for the observation of a sharded model: its parameters would stay gathered.
    """
    modules = list_sharded_modules(model)
    if modules and observed:
        raise FitError(
            "A model that fully_shard has sharded cannot be observed on a batch, since its forward "
            "pass moves its parameters. "
            "Leave batch out, so that it is traced, or initialize it before fully_shard."
        )
    before = [(module, name, getattr(module, name)) for module in modules for name in _HOOKS]
    try:
        for module, name, _ in before:
            setattr(module, name, OrderedDict())
        yield
    finally:
        for module, name, hooks in before:
            setattr(module, name, hooks)
