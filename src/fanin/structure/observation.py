"""One forward pass, observed with all its tensors and with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.structure import model_state
from fanin.structure.forward_tracing import Batch, ForwardTracer, split_batch
from fanin.structure.graph import Graph, Node
from fanin.structure.module_kinds import check_model


@dataclass(frozen=True)
class Observation:
    """The graph of one forward pass, and what flowed through it."""

    graph: Graph
    values: Mapping[int, Tensor]
    """The tensor of each node, if there was a pass; gradients flow through it where they can."""
    variances: Mapping[int, float] = field(default_factory=dict)
    """The variance of each node's numbers, if they were measured."""


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


def observe_variances(model: nn.Module, batch: Batch) -> Observation:
    """The graph of one forward pass without gradients, in the mode that the model is in, and the
    variance of each node's numbers when it was computed: what is changed in place later does not
    change it.
    """
    check_model(model)
    args, kwargs = split_batch(batch)
    with torch.inference_mode(False), model_state.preserve_model(model):
        tracer = _VarianceTracer(model, thorough=True)
        graph = tracer.build(args, kwargs)
        variances = tracer.variances
        tracer.release()
    return Observation(graph, {}, variances)


class _VarianceTracer(ForwardTracer):
    """Measures every tensor once."""

    def __init__(self, model: nn.Module, *, thorough: bool) -> None:
        super().__init__(model, thorough=thorough)
        self.variances: dict[int, float] = {}

    def observe(self, node: Node, tensor: Tensor) -> None:
        """Note the variance of a tensor with memory."""
        if (
            node.index not in self.variances
            and tensor.is_floating_point()
            and tensor.numel()
            and not tensor.is_meta
        ):
            with torch._C.DisableTorchFunction():
                numbers = tensor.detach()
                if numbers.dtype in (torch.float16, torch.bfloat16):
                    numbers = numbers.float()
                self.variances[node.index] = numbers.var(correction=0).item()


def _is_sharded(model: nn.Module) -> bool:
    """Whether FSDP would wait for the backward pass of every forward pass that has gradients."""
    return any(
        base.__name__ in ("FullyShardedDataParallel", "FSDPModule")
        for module in model.modules()
        for base in type(module).__mro__
    )
