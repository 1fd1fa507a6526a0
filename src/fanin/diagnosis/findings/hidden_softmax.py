"""F055: a softmax between two layers, where an activation is meant."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.signal_paths import is_linear_layer
from fanin.diagnosis.findings.squashed_layers import find_feeder
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.structure import Node

_RESTORES = ("normalization", "add", "product")
"""Behind one of these a signal has another size, or another signal beside it."""

CERTAIN = 2
"""So many in one model train clearly worse than ReLU in all thirteen networks that were tried. One
may be meant: the output of a generator that a discriminator takes, a choice among a few codes.
"""


def judge_hidden_softmax(examination: Examination) -> Iterator[Finding]:
    """One finding for every softmax that only hands a layer's output to other layers."""
    measurement = examination.measurement
    if measurement is None:
        return
    found = [
        (feeder, taker)
        for node in measurement.graph.nodes
        if node.kind == "softmax"
        and (feeder := find_feeder(measurement, node)) is not None
        and (taker := _find_taker(measurement, node)) is not None
    ]
    places = tuple(dict.fromkeys(feeder.name for feeder, _ in found))
    if places:
        yield _report(places, found)


def _find_taker(measurement: Measurement, node: Node) -> Signal | None:
    """The first layer behind a softmax, if nothing but layers take it and nothing restores what
    they put out.
    """
    takers = list[Node]()
    for following in _list_following(measurement, node):
        if not is_linear_layer(following):
            return None
        if any(one.kind in _RESTORES for one in _list_following(measurement, following)):
            return None
        takers.append(following)
    return measurement.signals.get(takers[0].index) if takers else None


def _list_following(measurement: Measurement, node: Node) -> Iterator[Node]:
    """The nodes that take a signal, perhaps through a reshape or dropout."""
    waiting, seen = [node.index], {node.index}
    while waiting:
        for user in measurement.graph.users[waiting.pop()]:
            if user in seen:
                continue
            seen.add(user)
            following = measurement.graph.nodes[user]
            if following.kind == "transparent":
                waiting.append(user)
            else:
                yield following


def _report(places: tuple[str, ...], found: list[tuple[Signal, Signal]]) -> Finding:
    before, after = (_measure_difference(found[0][0]), _measure_difference(found[-1][1]))
    shrinks = (
        f" Two samples differ by {before:.2g} before the first, and by {after:.2g} after the layer "
        "behind the last."
        if before and after is not None
        else ""
    )
    what = (
        "Softmaxes follow these layers, and further layers take them"
        if len(places) > 1
        else "A softmax follows this layer, and a further layer takes it"
    )
    return Finding(
        code="F055",
        severity="error" if len(places) >= CERTAIN else "warning",
        where=places[0],
        also=places[1:],
        summary=(
            f"{what}: the outputs of a softmax are positive, add up to 1 and start nearly equal."
            f"{shrinks}"
        ),
        remedy="Use ReLU, GELU or tanh in hidden layers, and leave the softmax to the output.",
        evidence={"layers": len(places), "before": before, "after": after},
    )


def _measure_difference(signal: Signal) -> float | None:
    """The rms of the difference of two samples, over √2."""
    return None if signal.input_distance is None else signal.input_distance * signal.rms
