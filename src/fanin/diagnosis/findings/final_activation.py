"""The activation that a model's output comes out of, and the numbers that it can reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.diagnosis.measurement import Measurement
from fanin.structure import Graph, Node

_FAR = 1e4
"""Where an activation has nearly reached its bounds."""


@dataclass(frozen=True)
class FinalActivation:
    """What lies between the last layer and the loss."""

    name: str
    """The bare name of the activation; empty if the output is a layer's."""
    label: str
    """Its class or function; empty if there is none."""
    layer: str
    """The last layer before it."""
    is_softmax: bool
    units: int
    """The length of the axis that a softmax sums over."""
    low: float
    """The smallest number that it reaches, −inf if it is unbounded."""
    high: float
    apply: Callable[[Tensor], Tensor] | None
    """The activation as a function of what it gets, in the output's shape; None if there is none
    or it is not known.
    """

    @property
    def place(self) -> str:
        """The module to change: the activation, or else the layer."""
        return self.name or self.layer or "output"

    @property
    def is_bounded(self) -> bool:
        return self.low > -torch.inf or self.high < torch.inf


def find_final_activation(measurement: Measurement) -> FinalActivation | None:
    """The last activation before the output that the loss takes; None if the output's origin is
    unknown.
    """
    graph = measurement.graph
    if measurement.output_node is None or measurement.output is None:
        return None
    node = _skip_moves(graph, graph.nodes[measurement.output_node])
    layer = _find_layer_name(measurement, node)
    signal = measurement.signals.get(node.index)
    name = signal.name if signal else ""
    if node.kind == "softmax" and node.inputs:
        axis = _read_axis(node, measurement.output)
        if node.label.lower().startswith("log") or "log" in node.target:
            return FinalActivation(
                name,
                node.label,
                layer,
                False,
                0,
                -torch.inf,
                0.0,
                lambda values: torch.log_softmax(values, axis),
            )
        return FinalActivation(
            name,
            node.label,
            layer,
            True,
            measurement.output.shape[axis],
            0.0,
            1.0,
            lambda values: torch.softmax(values, axis),
        )
    if node.kind in ("activation", "other") and node.function is not None and len(node.inputs) == 1:
        low, high = _find_reach(node)
        return FinalActivation(name, node.label, layer, False, 0, low, high, node.function)
    if node.kind == "layer":
        return FinalActivation("", "", layer, False, 0, -torch.inf, torch.inf, None)
    return None


def _skip_moves(graph: Graph, node: Node) -> Node:
    while node.kind == "transparent" and len(node.inputs) == 1 and _keeps_numbers(node):
        node = graph.nodes[node.inputs[0]]
    return node


def _keeps_numbers(node: Node) -> bool:
    """Whether a step moves or selects numbers: it does not average or scale them."""
    name = node.label.lower()
    return not any(part in name for part in ("mean", "sum", "pool", "mul", "div", "interpolate"))


def _find_layer_name(measurement: Measurement, node: Node) -> str:
    """The nearest layer before a node, along first inputs."""
    while node.kind != "layer":
        if not node.inputs:
            return ""
        node = measurement.graph.nodes[node.inputs[0]]
    signal = measurement.signals.get(node.index)
    return signal.name if signal else node.target


def _read_axis(node: Node, output: Tensor) -> int:
    axis = getattr(node.module, "dim", None)
    if node.module is None and node.call is not None:
        axis = node.call.get_option(1, "dim")
    if not isinstance(axis, int) or not -output.dim() <= axis < output.dim():
        axis = -1 if output.dim() != 4 else 1
    return axis


def _find_reach(node: Node) -> tuple[float, float]:
    """The infimum and supremum of an activation, by its values far out."""
    assert node.function is not None
    points = torch.cat([torch.tensor([-_FAR, _FAR]), torch.linspace(-30, 30, 1201)])
    try:
        with torch.no_grad():
            values = node.function(points.clone())
    except Exception:
        return -torch.inf, torch.inf
    if not isinstance(values, Tensor) or values.shape != points.shape:
        return -torch.inf, torch.inf
    finite = values[torch.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    grows_down = abs(float(values[0])) > _FAR / 1e3 or not bool(torch.isfinite(values[0]))
    grows_up = abs(float(values[1])) > _FAR / 1e3 or not bool(torch.isfinite(values[1]))
    below = grows_down and float(values[0]) < 0
    above = (grows_up and float(values[1]) > 0) or (grows_down and float(values[0]) > 0)
    return -torch.inf if below else low, torch.inf if above else high
