"""What one forward and backward pass showed: plain records of numbers, no judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from fanin.losses import LossKind
from fanin.structure import Graph
from fanin.structure.graph import NodeKind


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What one step of the forward pass put out, and the gradient that came back to it.

    Shares are numbers in [0, 1]. A unit is one index of the axis that counts a layer's outputs:
    the last axis of a linear layer, the channels of a convolution. What cannot be measured is
    None.
    """

    node: int
    """The index of its node in the graph."""
    name: str
    """The bare name of the layer or module; of a function, where it was called and its name:
    ``block.0:relu``.
    """
    kind: NodeKind
    label: str
    """The class, or the function."""
    inputs: tuple[int, ...]
    """The nodes that it was computed from."""
    shape: tuple[int, ...]
    finite: bool
    mean: float
    std: float
    rms: float
    maximum: float
    """Of the absolute values."""
    zero_share: float
    """The share of numbers that are exactly 0."""
    units: int | None = None
    zero_units: float | None = None
    """The share of units that are 0 for every sample and place."""
    constant_units: float | None = None
    """The share of units that have the same value for every sample and place."""
    saturated: float | None = None
    """Of a bounded activation: the share of numbers at which its slope is less than 2 % of its
    largest.
    """
    dead_slope_units: float | None = None
    """Of an activation: the share of units whose slope is 0 for every sample and place."""
    effective_rank: float | None = None
    """exp(entropy of the normalized squared singular values) of the matrix samples × numbers."""
    similarity: float | None = None
    """The mean cosine between the outputs for different samples."""
    input_distance: float | None = None
    """How different samples are, relative to the size of the signal: rms of the difference of two
    samples / (√2 · rms). 0: all alike.
    """
    gradient_rms: float | None = None
    """None if no gradient came back."""
    gradient_finite: bool = True


@dataclass(frozen=True, kw_only=True)
class ParameterState:
    """One parameter and its gradient."""

    name: str
    """The bare name."""
    layer: str
    """The bare name of the layer that it belongs to."""
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    """requires_grad."""
    finite: bool
    mean: float
    std: float
    rms: float
    maximum: float
    reached: bool
    """Whether a gradient came back, also one of zeros."""
    gradient_rms: float | None
    gradient_zero_share: float | None
    """The share of entries whose gradient is exactly 0."""
    gradient_finite: bool = True

    @property
    def gradient_ratio(self) -> float | None:
        """The rms of the gradient over that of the parameter."""
        if self.gradient_rms is None or not self.rms:
            return None
        return self.gradient_rms / self.rms


@dataclass(frozen=True, kw_only=True)
class StrayParameter:
    """A parameter that the pass computed with, and that `model.parameters()` does not list."""

    owner: str
    """The module that holds it, or if nothing of the model does, the one that used it."""
    name: str
    """Where it is held, such as ``layers[0].weight``; empty if nothing of the model holds it."""
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LossState:
    """The loss of the probe."""

    kind: LossKind
    name: str
    """What it is called, for people."""
    value: float | None
    """None for a cotangent."""
    finite: bool
    uninformed: float | None = None
    """The loss of a prediction that knows nothing: all classes alike, the mean of the target."""
    prior: float | None = None
    """The loss of the best constant prediction."""
    classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttentionState:
    """One attention's weights."""

    name: str
    """The module that called it."""
    node: int
    entropy: float | None
    """The mean entropy of the weights over ln of the number of keys that a mask lets through; 1:
    uniform, 0: one key takes all. None if there are no weights of real numbers.
    """
    logit_std: float | None
    """The standard deviation of the scores before the softmax, over keys."""
    causal: bool
    """Whether no query sees a later key."""
    hidden_rows: float
    """The share of queries that every key is hidden from."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Everything that the probe measured."""

    graph: Graph
    signals: Mapping[int, Signal]
    """By node, in the order of their computation."""
    parameters: Mapping[str, ParameterState]
    """By bare name, in the model's order."""
    loss: LossState
    attentions: tuple[AttentionState, ...]
    samples: int
    """The size of the batch."""
    output: Tensor | None
    """What the loss took: a copy without gradient."""
    target: Tensor | None
    output_node: int | None
    """The node of `output`."""
    batch_stats: Mapping[str, Signal]
    """The floating-point inputs, by name."""
    shapes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """The shape of every node's tensor, also of steps that only move numbers."""
    strays: tuple[StrayParameter, ...] = ()

    @cached_property
    def layers(self) -> tuple[Signal, ...]:
        """The signals that weighted layers put out, in the order of their computation."""
        return tuple(one for one in self.signals.values() if one.kind == "layer")

    def list_ancestors(self) -> frozenset[int]:
        """The nodes that the output was computed from, itself included; none if its node is
        unknown.
        """
        waiting = [] if self.output_node is None else [self.output_node]
        found = set(waiting)
        while waiting:
            new = set(self.graph.nodes[waiting.pop()].inputs) - found
            found |= new
            waiting += new
        return frozenset(found)

    def get_layer(self, name: str) -> Signal | None:
        """The first output of one layer; None if the pass did not reach it."""
        return next((one for one in self.layers if one.name == name), None)
