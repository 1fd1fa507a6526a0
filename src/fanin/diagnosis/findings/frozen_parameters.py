"""F022: frozen parameters that were probably meant to train."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, WeightState, get_anatomy
from fanin.diagnosis.findings.weight_draws import FEWEST_NUMBERS, DrawKind
from fanin.diagnosis.measurement import Measurement, ParameterState
from fanin.diagnosis.patch import Patch
from fanin.structure import Graph

MIN_SIBLINGS = 4
FRESH: tuple[DrawKind, ...] = ("normal", "uniform", "truncated", "orthogonal")
"""What an initializer leaves. Training makes tails heavier."""
MOST = 0.5
"""If so many layers, or numbers, are frozen, the others are trained on top of them: fine-tuning,
adapters, or features drawn at random on purpose.
"""

_NUMBER = re.compile(r"\d+")


def judge_frozen(examination: Examination) -> Iterator[Finding]:
    """Frozen parameters among trainable siblings, and frozen layers that hold fresh numbers."""
    measurement = examination.measurement
    if measurement is None or not any(one.trainable for one in measurement.parameters.values()):
        return
    odd = list(_find_odd_siblings(measurement))
    if odd:
        yield _report(
            [one.name for one in odd],
            f"{odd[0].name} is frozen (requires_grad=False), and its siblings in other blocks are "
            "not.",
            "Set requires_grad=True, unless this block is meant to stay as it is.",
        )
    told = {one.name for one in odd}
    fresh = [name for name in _find_fresh(examination, measurement) if name not in told]
    if fresh:
        yield _report(
            fresh,
            f"{fresh[0]} is frozen (requires_grad=False) and holds fresh random numbers, while "
            "layers around it train.",
            "Set requires_grad=True, unless random features are meant.",
        )


def _report(names: Sequence[str], summary: str, remedy: str) -> Finding:
    return Finding(
        code="F022",
        severity="warning",
        where=names[0],
        also=tuple(names[1:]),
        summary=summary,
        remedy=remedy,
        evidence={"frozen": len(names)},
        patches=(Patch(operation="train", parameters=tuple(names)),),
    )


def _find_odd_siblings(measurement: Measurement) -> Iterator[ParameterState]:
    """A frozen parameter among trainable ones of the same name in other blocks."""
    groups: dict[str, list[ParameterState]] = defaultdict(list)
    for one in measurement.parameters.values():
        groups[_NUMBER.sub("*", one.name)].append(one)
    for members in groups.values():
        frozen = [not one.trainable for one in members]
        count = sum(frozen)
        if len(members) < MIN_SIBLINGS or not 0 < count < len(members) / 2:
            continue
        if all(frozen[:count]):
            continue  # the first blocks: fine-tuning of the later ones
        yield from (one for one, is_frozen in zip(members, frozen, strict=True) if is_frozen)


def _find_fresh(examination: Examination, measurement: Measurement) -> Iterator[str]:
    """The frozen parameters of layers that look freshly drawn, on a way with trainable layers."""
    anatomy = get_anatomy(examination)
    states = [one for one in anatomy.weights if one.use.role != "embedding"]
    frozen = [one for one in states if not _is_trained(one)]
    if not frozen or len(frozen) >= MOST * len(states):
        return
    if sum(map(_count, frozen)) >= MOST * sum(map(_count, states)):
        return
    trained = [one for one in states if _is_trained(one)]
    for one in frozen:
        if (
            one.draw.kind in FRESH
            and one.draw.count >= FEWEST_NUMBERS
            and not any(_are_equal(one, other) for other in trained)
            and _meets_trained(anatomy, one, trained)
        ):
            layer = anatomy.get_layer(one.use)
            yield one.name
            yield from (
                state.name
                for state in measurement.parameters.values()
                if state.layer == layer and not state.trainable and state.name != one.name
            )


def _count(state: WeightState) -> int:
    return state.use.parameter.numel()


def _is_trained(state: WeightState) -> bool:
    return any(part.parameter.requires_grad for part in state.use.carriers)


def _are_equal(one: WeightState, other: WeightState) -> bool:
    """Whether one is a copy of the other, as a target network is of the one that is trained."""
    first, second = one.use.parameter, other.use.parameter
    return first.shape == second.shape and torch.equal(first, second)


def _meets_trained(anatomy: Anatomy, one: WeightState, trained: Sequence[WeightState]) -> bool:
    """Whether the signal goes through a trained layer before or after it."""
    graph = anatomy.graph
    if graph is None:
        return False
    own = set(anatomy.nodes.get(anatomy.get_layer(one.use), ()))
    others = {
        node for state in trained for node in anatomy.nodes.get(anatomy.get_layer(state.use), ())
    }
    return bool(own) and bool(others & (_reach(graph, own, True) | _reach(graph, own, False)))


def _reach(graph: Graph, start: set[int], forward: bool) -> set[int]:
    """All nodes after, or before, some."""
    waiting, seen = list(start), set(start)
    while waiting:
        index = waiting.pop()
        following = graph.users[index] if forward else graph.nodes[index].inputs
        waiting += [one for one in following if one not in seen]
        seen.update(following)
    return seen - start
