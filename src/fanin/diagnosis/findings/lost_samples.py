"""Where all samples become alike at one step, so that nothing of the input is left: F011."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.structure import Node

LEFT = 1e-3
"""A normalization gives numbers of unit size, or small ones of small inputs. What is so much below
both is rounding: the mean that it subtracts was all that there was.
"""
_STEPS = ("softmax", "add", "product", "normalization")
"""Steps that can end a signal by their own arithmetic: a softmax over one number, a number minus
its mean. A layer of zeros is often meant, and learns.
"""


def judge_lost_samples(examination: Examination) -> Iterator[Finding]:
    """F011: a step behind which samples are alike that were different before it."""
    measurement = examination.measurement
    if measurement is None or measurement.samples < 2:
        return
    leading = measurement.list_ancestors()
    lost = [
        one
        for index, one in measurement.signals.items()
        if index in leading and _is_lost(measurement, one)
    ]
    if not lost:
        return
    nodes = measurement.graph.nodes
    places = tuple(dict.fromkeys(_name_place(nodes[one.node], one) for one in lost))
    first = lost[0]
    everything = _is_output_constant(measurement, lost)
    what = first.label if nodes[first.node].module is not None else f"a call of {first.label}"
    yield Finding(
        code="F011",
        severity="error" if everything else "warning",
        where=places[0],
        also=places[1:],
        summary=(
            f"Behind {what}, whose output has shape {first.shape}, all samples are alike, and "
            "before it they are not: "
            + (
                "no output depends on the input."
                if everything
                else "what this branch computes of the input is lost."
            )
        ),
        remedy=(
            "Normalize over more than one number, along the axis of features, or remove it: what "
            "is subtracted and divided away is all that there is."
        ),
        evidence={"shape": str(first.shape), "rms behind it": first.rms},
    )


def _is_lost(measurement: Measurement, signal: Signal) -> bool:
    if signal.kind not in _STEPS or not signal.finite or signal.input_distance is None:
        return False
    before = _list_measured(measurement, signal)
    alive = [one for one in before if _measure_spread(one)]
    if not alive:
        return False
    if signal.kind == "normalization":
        size = _measure_gain(measurement, measurement.graph.nodes[signal.node])
        least = min(1.0, *(_measure_spread(one) for one in alive))
        return bool(size) and _measure_spread(signal) <= LEFT * size * least
    # Zeros that are meant, such as a gate of 0 or the difference of two equal parts, learn.
    ends = bool(signal.gradient_rms) and all(one.gradient_rms == 0 for one in before)
    return ends and _measure_spread(signal) == 0


def _list_measured(measurement: Measurement, signal: Signal) -> list[Signal]:
    """The nearest signals before one that were measured: not those of steps that only move, pool
    or shift numbers.
    """
    waiting, seen = list(signal.inputs), set(signal.inputs)
    found = []
    while waiting:
        index = waiting.pop()
        if index in measurement.signals:
            found.append(measurement.signals[index])
            continue
        new = set(measurement.graph.nodes[index].inputs) - seen
        seen |= new
        waiting += new
    return found


def _measure_spread(signal: Signal) -> float:
    """The size of that part of a signal in which samples differ."""
    return signal.rms * (signal.input_distance or 0.0)


def _measure_gain(measurement: Measurement, node: Node) -> float:
    """What a normalization multiplies by; 0 if that is a zero that is meant."""
    if node.module is not None:
        names = [f"{node.target}.weight"]
    else:
        names = [] if node.call is None else node.call.parameters
    sizes = [one.rms for name in names if (one := measurement.parameters.get(name)) is not None]
    return max(sizes, default=1.0)


def _is_output_constant(measurement: Measurement, lost: list[Signal]) -> bool:
    """Whether every way from the inputs to the output goes through these steps."""
    blocked = {one.node for one in lost}
    waiting = [] if measurement.output_node is None else [measurement.output_node]
    seen = set(waiting)
    while waiting:
        node = measurement.graph.nodes[waiting.pop()]
        if node.index in blocked:
            continue
        if node.kind == "input":
            return False
        waiting += set(node.inputs) - seen
        seen |= set(node.inputs)
    return True


def _name_place(node: Node, signal: Signal) -> str:
    """The module; of a function, the module that calls it."""
    return signal.name if node.module is not None else signal.name.rpartition(":")[0]
