"""F008 of hidden layers with an activation that no gain suits, such as sigmoid.

Its outputs are all positive and vary little around their mean, and its slope is 1/4 at most: with
every such layer samples become more alike, and the gradient shorter. Two of them in a row already
train several times slower than ReLU or tanh.
"""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.phase import judge_phase
from fanin.diagnosis.findings.quick_moments import KnownActivation
from fanin.diagnosis.findings.signal_paths import is_linear_layer
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.structure import Graph, Node

MEAN_SHARE = 0.8
"""Of E f² of a unit normal input, the part that is the mean squared: sigmoid 0.85, softplus 0.72,
ReLU 0.32, tanh 0.
"""
FEWEST = 2
"""Layers. One hidden layer of sigmoids is an old and sound model."""


def find_squashed_layers(examination: Examination) -> Iterator[Finding]:
    """One finding for all activations of that kind that lie between two layers."""
    measurement = examination.measurement
    if measurement is None or any(True for _ in judge_phase(examination)):
        return  # of a deep stack theory says more
    known: dict[str, bool] = {}
    found = [
        (signal, feeder)
        for node in measurement.graph.nodes
        if (signal := measurement.signals.get(node.index)) is not None
        and node.kind == "activation"
        and _is_squashing(node, known)
        and (feeder := find_feeder(measurement, node)) is not None
        and _feeds_layers(measurement.graph, node)
    ]
    places = tuple(dict.fromkeys(feeder.name for _, feeder in found))
    if len(places) >= FEWEST:
        yield _report(places, [signal for signal, _ in found])


def _is_squashing(node: Node, known: dict[str, bool]) -> bool:
    key = node.label
    if key not in known:
        activation = KnownActivation(node.module or node.spec)
        known[key] = not activation.identity and activation.compute_mean_share() > MEAN_SHARE
    return known[key]


def find_feeder(measurement: Measurement, node: Node) -> Signal | None:
    """The layer before an activation, perhaps through a normalization."""
    current = node.inputs
    while current:
        before = measurement.graph.nodes[current[0]]
        if before.kind == "layer":
            return measurement.signals.get(before.index)
        if before.kind not in ("transparent", "normalization"):
            return None
        current = before.inputs
    return None


def _feeds_layers(graph: Graph, node: Node) -> bool:
    """Whether nothing but layers takes it: a gate meets what it gates first."""
    waiting, seen, layers = [node.index], {node.index}, 0
    while waiting:
        for user in graph.users[waiting.pop()]:
            following = graph.nodes[user]
            if is_linear_layer(following):
                layers += 1
            elif following.kind not in ("transparent", "normalization"):
                return False
            elif user not in seen:
                seen.add(user)
                waiting.append(user)
    return layers > 0


def _report(places: tuple[str, ...], signals: list[Signal]) -> Finding:
    label = signals[0].label
    first, last = signals[0].input_distance, signals[-1].input_distance
    alike = (
        f" Samples differ by {first:.2g} of the signal's size after the first, and by {last:.2g} "
        "after the last."
        if first is not None and last is not None
        else ""
    )
    return Finding(
        code="F008",
        severity="warning",
        where=places[0],
        also=places[1:],
        summary=(
            f"{len(places)} hidden layers have {label}, whose outputs are all of one sign and "
            f"whose slope is small: samples become alike, and gradients short.{alike}"
        ),
        remedy="Use ReLU, GELU or tanh in hidden layers; sigmoid is for gates and probabilities.",
        evidence={"layers": len(places), "activation": label},
    )
