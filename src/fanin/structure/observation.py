"""One forward pass, observed with all its tensors and with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.structure import model_state
from fanin.structure.forward_tracing import Batch, ForwardTracer, split_batch
from fanin.structure.graph import Graph
from fanin.structure.module_kinds import check_model


@dataclass(frozen=True)
class Observation:
    """The graph of one forward pass, and what flowed through it."""

    graph: Graph
    values: Mapping[int, Tensor]
    """The tensor of each node, if there was a pass; gradients flow through it where they can."""


def observe_forward(model: nn.Module, batch: Batch) -> Observation:
    """As `trace_forward`, in eval mode and with the tensors of the pass, through which gradients
    flow: all parameters require them during the pass.

    A model that cannot run with gradients is observed without.
    """
    check_model(model)
    with torch.inference_mode(False):
        try:
            return _observe(model, batch, gradients=not _is_sharded(model))
        except FitError:
            return _observe(model, batch, gradients=False)


def _observe(model: nn.Module, batch: Batch, *, gradients: bool) -> Observation:
    args, kwargs = split_batch(batch)
    with ExitStack() as stack:
        stack.enter_context(model_state.preserve_model(model))
        if gradients:
            stack.enter_context(model_state.require_gradients(model))
        model.eval()
        tracer = ForwardTracer(model, thorough=True)
        return Observation(tracer.build(args, kwargs), tracer.values)


def _is_sharded(model: nn.Module) -> bool:
    """Whether FSDP would wait for the backward pass of every forward pass that has gradients."""
    return any(
        base.__name__ in ("FullyShardedDataParallel", "FSDPModule")
        for module in model.modules()
        for base in type(module).__mro__
    )
