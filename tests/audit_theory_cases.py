"""A small probe for the tests of theory: what one pass of a model shows, by the obvious way."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.measurement import LossState, Measurement, Signal
from fanin.structure import Graph, model_state
from fanin.structure.forward_tracing import Batch, ForwardTracer, split_batch


def measure(model: nn.Module, batch: Batch, *, seed: int = 0) -> Measurement:
    """Signals and gradients of one pass, whose gradient at the output is random."""
    args, kwargs = split_batch(batch)
    with model_state.preserve_model(model), model_state.require_gradients(model):
        model.train()
        tracer = ForwardTracer(model, thorough=True)
        graph = tracer.build(args, kwargs)
        values = dict(tracer.values)
        output = max(index for index, value in values.items() if value.requires_grad)
        gradients = _differentiate(values, output, seed)
    given = [*args, *kwargs.values()]
    inputs = [node.index for node in graph.nodes if node.kind == "input"]
    values |= {
        index: value
        for index, value in zip(inputs, given, strict=False)
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return Measurement(
        graph=graph,
        signals={
            index: _describe(graph, index, values[index].detach(), gradients.get(index))
            for index in sorted(values)
        },
        parameters={},
        loss=LossState(kind="cotangent", name="a random cotangent", value=None, finite=True),
        attentions=(),
        samples=len(values[output]),
        output=values[output].detach(),
        target=None,
        output_node=output,
        batch_stats={},
        shapes={index: tuple(value.shape) for index, value in values.items()},
    )


def _differentiate(values: Mapping[int, Tensor], output: int, seed: int) -> dict[int, Tensor]:
    cotangent = seeds.standard_normal(
        tuple(values[output].shape), seeds.make_generator(seed, "test-cotangent")
    )
    indices = [index for index, value in values.items() if value.requires_grad]
    found = torch.autograd.grad(
        values[output],
        [values[index] for index in indices],
        cotangent.to(values[output].dtype),
        allow_unused=True,
    )
    return {
        index: gradient
        for index, gradient in zip(indices, found, strict=True)
        if gradient is not None
    }


def _describe(graph: Graph, index: int, value: Tensor, gradient: Tensor | None) -> Signal:
    node = graph.nodes[index]
    wide = value.double()
    rms = float(wide.square().mean().sqrt())
    return Signal(
        node=index,
        name=node.target,
        kind=node.kind,
        label=node.label,
        inputs=node.inputs,
        shape=tuple(value.shape),
        finite=bool(value.isfinite().all()),
        mean=float(wide.mean()),
        std=float(wide.std()) if wide.numel() > 1 else 0.0,
        rms=rms,
        maximum=float(wide.abs().max()) if wide.numel() else 0.0,
        zero_share=float((wide == 0).double().mean()),
        units=value.shape[1] if value.dim() > 1 else None,
        input_distance=_get_distance(wide, rms),
        gradient_rms=None if gradient is None else float(gradient.double().square().mean().sqrt()),
    )


def _get_distance(value: Tensor, rms: float) -> float | None:
    """Over all pairs of neighbours."""
    if value.dim() < 2 or len(value) < 2 or not rms:
        return None
    gap = value - value.roll(1, 0)
    return float(gap.square().mean().sqrt()) / (math.sqrt(2) * rms)
