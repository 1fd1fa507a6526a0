"""One forward pass that measures what every step puts out, and a backward pass that measures the
gradient that comes back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fanin.diagnosis.measurement import AttentionState, Signal
from fanin.diagnosis.probe import torch_attention
from fanin.diagnosis.probe.attention_weights import describe_attention_call, describe_scores
from fanin.diagnosis.probe.signal_statistics import (
    SampleSpread,
    compare_samples,
    measure_moments,
    measure_rms,
    measure_units,
    pick_any,
)
from fanin.diagnosis.probe.stray_parameters import StrayCollector
from fanin.structure import Graph, Node, unwrap_name
from fanin.structure.forward_tracing import ForwardTracer
from fanin.structure.function_kinds import ATTENTION
from fanin.structure.layer_names import LayerNames

_MEASURED = ("input", "layer", "activation", "normalization", "add", "product", "softmax", "other")
_WITH_UNITS = ("layer", "activation", "normalization")
_FIRST_AXIS_LAYERS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)


@dataclass
class _Gradient:
    """What came back to one tensor; several users of it give one sum."""

    rms: float
    finite: bool


class SignalRecorder(ForwardTracer):
    """A tracer that measures. Numbers are taken when they are computed, for what is changed in
    place afterwards is another signal.
    """

    def __init__(self, model: nn.Module, samples: int, strays: StrayCollector) -> None:
        super().__init__(model, thorough=True)
        self._strays = strays
        self._root = model
        self._layer_names = LayerNames(model)
        self.samples = samples
        self._signals: dict[int, Signal] = {}
        self._gradients: dict[int, _Gradient] = {}
        self._unit_axes: dict[int, int] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        """Of every node's tensor."""
        self.picked: dict[int, Tensor] = {}
        """Some numbers of each node, as they were when it was computed."""
        self.attentions: list[AttentionState] = []
        self._scores: Callable[[Node], AttentionState | None] | None = None
        """What the call of a softmax that is running was given."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._strays.look_at((args, kwargs), self.get_caller())
        describe = self._prepare_description(getattr(func, "__name__", ""), args, kwargs)
        if describe is None:
            return super().__torch_function__(func, types, args, kwargs)
        self._scores = describe
        try:
            return super().__torch_function__(func, types, args, kwargs)
        finally:
            # Inside a module such as nn.Softmax the node comes when the module returns.
            if not (self._calls and self._calls[-1].kind in ("softmax", "layer")):
                self._scores = None

    def _prepare_description(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Callable[[Node], AttentionState | None] | None:
        """What will describe the attention that a function computes; None for others."""
        if name == ATTENTION:
            return lambda node: describe_attention_call(self._name(node), node.index, args, kwargs)
        if name == torch_attention.FUNCTION:
            module = unwrap_name(self._root, self.get_caller())
            return lambda node: torch_attention.describe_packed_call(
                module, node.index, args, kwargs
            )
        if name == "softmax" and args and isinstance(args[0], Tensor) and args[0].dim() >= 3:
            scores = args[0]
            return lambda node: describe_scores(self._name(node), node.index, scores)
        return None

    def observe(self, node: Node, tensor: Tensor) -> None:
        if self._scores is not None and node.kind in ("transparent", "softmax", "layer"):
            self._describe_attention(node)
        self.shapes.setdefault(node.index, tuple(tensor.shape))
        if node.index in self._signals or tensor.is_meta or type(tensor).__name__ == "DTensor":
            return
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return
        with torch._C.DisableTorchFunction(), torch.no_grad():
            axis = self._find_unit_axis(node, tensor)
            if axis is not None:
                self._unit_axes[node.index] = axis
            if not tensor.is_complex():
                self.picked[node.index] = pick_any(tensor)
            if node.kind in _MEASURED:
                self._signals[node.index] = self._measure(node, tensor, axis)
        if tensor.requires_grad and node.kind in _MEASURED:
            tensor.register_hook(self._make_hook(node.index))

    def _describe_attention(self, node: Node) -> None:
        describe, self._scores = self._scores, None
        if describe is None:
            return
        with torch._C.DisableTorchFunction(), torch.no_grad():
            state = describe(node)
        if state is not None:
            self.attentions.append(state)

    def list_signals(self, graph: Graph) -> dict[int, Signal]:
        """The signals with their gradients, in order, named as in the bare model."""
        found = {}
        for index in sorted(self._signals):
            signal, gradient = self._signals[index], self._gradients.get(index)
            if gradient is not None:
                signal = replace(signal, gradient_rms=gradient.rms, gradient_finite=gradient.finite)
            saturated = measure_saturation(graph, index, self.picked)
            found[index] = replace(signal, saturated=saturated)
        return found

    def _make_hook(self, index: int) -> Callable[[Tensor | None], None]:
        def hook(gradient: Tensor | None) -> None:
            if gradient is not None:  # as what a quantized layer gives
                self._gradients[index] = _Gradient(*measure_rms(gradient))

        return hook

    def _measure(self, node: Node, tensor: Tensor, axis: int | None) -> Signal:
        moments = measure_moments(tensor)
        units = (
            measure_units(tensor, axis)
            if axis is not None and node.kind in _WITH_UNITS and moments.finite
            else None
        )
        sample_axis = self.find_sample_axis(tensor)
        spread = (
            SampleSpread(None, None, None)
            if sample_axis is None or tensor.is_complex()
            else compare_samples(tensor, sample_axis)
        )
        return Signal(
            node=node.index,
            name=self._name(node),
            kind=node.kind,
            label=node.label,
            inputs=node.inputs,
            shape=tuple(tensor.shape),
            finite=moments.finite,
            mean=moments.mean,
            std=moments.std,
            rms=moments.rms,
            maximum=moments.maximum,
            zero_share=units.zero_share if units else 0.0,
            units=units.units if units else None,
            zero_units=units.zero_units if units else None,
            constant_units=units.constant_units if units else None,
            effective_rank=spread.effective_rank,
            similarity=spread.similarity,
            input_distance=spread.distance,
        )

    def find_sample_axis(self, tensor: Tensor) -> int | None:
        """The first axis that is as long as the batch."""
        return next((axis for axis, size in enumerate(tensor.shape) if size == self.samples), None)

    def _find_unit_axis(self, node: Node, tensor: Tensor) -> int | None:
        if tensor.dim() < 2:
            return None
        if node.kind == "layer" or node.module is not None:
            return self._read_unit_axis(node, tensor)
        before = [self._unit_axes[one] for one in node.inputs if one in self._unit_axes]
        return before[0] if before and before[0] < tensor.dim() else None

    def _read_unit_axis(self, node: Node, tensor: Tensor) -> int | None:
        module = node.module
        if node.kind == "layer":
            by_channel = (
                isinstance(module, nn.modules.conv._ConvNd)
                if node.used_by is None
                else "conv" in node.used_by
            )
            return 1 if by_channel else tensor.dim() - 1
        if isinstance(module, _FIRST_AXIS_LAYERS):
            return 1
        before = [self._unit_axes[one] for one in node.inputs if one in self._unit_axes]
        return before[0] if before and before[0] < tensor.dim() else None

    def _name(self, node: Node) -> str:
        if node.kind == "layer":
            return self._layer_names.get_name(node)
        if node.module is not None:
            return unwrap_name(self._root, node.target)
        if node.kind == "input":
            return node.target
        caller = unwrap_name(self._root, self.get_caller())
        return f"{caller}:{node.target}" if caller else f":{node.target}"


def measure_saturation(graph: Graph, index: int, picked: dict[int, Tensor]) -> float | None:
    """The share of numbers at which a bounded activation is nearly flat; None for others."""
    node = graph.nodes[index]
    if node.kind != "activation" or node.function is None or len(node.inputs) != 1:
        return None
    before = picked.get(node.inputs[0])
    if before is None or not before.numel() or not bool(torch.isfinite(before).all()):
        return None
    steepest = _find_steepest_slope(node)
    if steepest is None:
        return None
    if _is_flat_below(node):
        before = before[before > 0]  # a ReLU6 is off for half of its inputs, as every ReLU
        if not before.numel():
            return None
    slope = _differentiate(node, before)
    return None if slope is None else float((slope.abs() < FLAT * steepest).float().mean())


FLAT = 0.02
"""A slope below 2 % of the steepest: a sigmoid beyond ±5, a tanh beyond ±2.7."""


def _is_flat_below(node: Node) -> bool:
    ends = _evaluate(node, torch.tensor([-1e4, -1.0, -0.01]))
    return ends is not None and bool((ends == ends[0]).all())


def _find_steepest_slope(node: Node) -> float | None:
    """The largest slope of a bounded function; None if it is not bounded on both sides."""
    ends = _evaluate(node, torch.tensor([-1e6, -1e4, 1e4, 1e6]))
    if ends is None or not bool(torch.isfinite(ends).all()):
        return None
    if abs(float(ends[0] - ends[1])) > 1e-3 or abs(float(ends[2] - ends[3])) > 1e-3:
        return None
    slopes = _differentiate(node, torch.linspace(-8, 8, 257))
    steepest = None if slopes is None else float(slopes.abs().max())
    return steepest or None


def _evaluate(node: Node, values: Tensor) -> Tensor | None:
    assert node.function is not None
    try:
        with torch.no_grad():
            found = node.function(values.clone())
    except Exception:
        return None  # a function of one shape only, such as a PReLU of several slopes
    return found if isinstance(found, Tensor) and found.shape == values.shape else None


def _differentiate(node: Node, values: Tensor) -> Tensor | None:
    assert node.function is not None
    try:
        with torch.enable_grad():
            leaf = values.clone().requires_grad_()
            found = node.function(leaf.clone())
            (slope,) = torch.autograd.grad(found.sum(), leaf)
    except Exception:
        return None
    return slope.detach() if slope.shape == values.shape else None
