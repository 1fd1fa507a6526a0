"""Weights of a size that no rule gives (F028): several times too large, next to nothing, or far
below all others of the model.

`wrong_gains` judges what becomes of a signal on a plain path. Normalizations and gates hide the
size of the weights before them from the signal, but not from the optimizer: weights that are too
large hardly turn, tiny ones are overwritten by the first steps, and gates are saturated.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from fanin.apply.model_parameters import ParameterUse
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, DrawnMap, get_anatomy
from fanin.diagnosis.findings.plain_layers import is_last_layer
from fanin.diagnosis.findings.quick_moments import KnownActivation
from fanin.diagnosis.findings.scaling_schemes import FAN_SCHEMES, list_followed
from fanin.diagnosis.findings.wrong_gains import find_wrong_gains
from fanin.diagnosis.patch import Patch

LARGE = 2.5
"""Times the gain that suits what follows. Of 1,700 weights of 178 sound models the largest is 2.4,
and the next 1.6.
"""
LARGE_NORMALIZED = 8.0
"""The same before a normalization, which undoes the size of a signal: only the optimizer notices,
and Inception v3, whose last blocks start at 4.5, trains.
"""
SMALL = 0.015
"""As above. GPT-2's 0.02, scaled by depth, in a model of width 32 is 0.03."""
SMALL_STATE = 0.2
"""The same of a recurrent matrix: a state shrinks to a fifth with every step. torch's default
is 0.58.
"""
SMALL_END = 0.004
"""The same of a last layer. Policies start theirs at 0.01 on purpose, and others at exactly 0."""
UNLIKE = 1 / 6
"""Of the median of the hidden layers of one model. Layers that are smaller by design end a residual
branch, a gate or the model, and are not compared.
"""
USUAL_STDS = 0.018, 0.022
"""0.02, whatever the fan-in: a convention (BERT, GPT-2, most vision transformers) that narrow
models and narrow stages have taken over, if three layers and more of a model follow it.
"""
MIN_COMPARED = 3
MIN_NUMBERS = 16
"""The size of fewer numbers is a matter of chance."""
_WIDEST_GAIN = 2.0
"""No usual activation needs more."""
_SQUASHING = ("sigmoid", "hardsigmoid", "softmax", "softplus")
"""What comes out of these is often meant to start near a constant."""


Place = Literal["hidden", "recurrent", "last", "other"]
"""hidden: nothing about the place is a reason for small weights. other: the end of a residual
branch, a gate, or what is not known."""


@dataclass(frozen=True)
class _Size:
    """One map, and how its gain compares with the one that suits what follows."""

    map: DrawnMap
    wanted: float
    gain: float
    place: Place
    normalized: bool

    @property
    def ratio(self) -> float:
        return self.gain / self.wanted


def find_far_gains(examination: Examination) -> Iterator[Finding]:
    """F028, one finding for weights that are too large, and one for those too small."""
    anatomy = get_anatomy(examination)
    told = {
        place
        for finding in find_wrong_gains(examination)
        if finding.severity != "note"
        for place in finding.places
    }
    sizes = [_measure(anatomy, one) for one in anatomy.maps if _is_judged(one)]
    large, small = (
        [one for one in found if one.map.name not in told]
        for found in (_list_large(sizes), _list_small(sizes))
    )
    if large:
        yield _describe(max(large, key=lambda one: one.ratio), large, "large")
    if small:
        yield _describe(min(small, key=lambda one: one.ratio), small, "small")


def _is_judged(one: DrawnMap) -> bool:
    drawn = one.draw.std > 0 and one.draw.kind not in ("constant", "sparse")
    trained = any(part.parameter.requires_grad for part in one.use.carriers)
    return drawn and trained and one.draw.count >= MIN_NUMBERS and one.layout.fans is not None


def _measure(anatomy: Anatomy, one: DrawnMap) -> _Size:
    follower = anatomy.get_follower(one.use)
    layout = one.layout if one.part else one.use.get_effective_layout()
    fans = layout.fans or one.fans
    gain = one.draw.std * math.sqrt(fans.fan_in)
    activation = KnownActivation(follower.activation if follower is not None else None)
    wanted = min(max(activation.compute_gain(), 1.0), _WIDEST_GAIN)
    normalized = follower is not None and follower.kind == "normalization"
    return _Size(one, wanted, gain, find_place(anatomy, one.use), normalized)


def find_place(anatomy: Anatomy, use: ParameterUse) -> Place:
    """Where in its model a weight lies."""
    if isinstance(use.module, nn.RNNBase | nn.RNNCellBase):
        return "recurrent"
    follower, graph = anatomy.get_follower(use), anatomy.graph
    nodes = anatomy.nodes.get(anatomy.get_layer(use), ())
    if follower is None or graph is None or not nodes or follower.through_add:
        return "other"
    if is_last_layer(graph, nodes[-1]):
        return "last"
    squashed = KnownActivation(follower.activation).name.lower() in _SQUASHING
    known = follower.kind in ("activation", "linear", "normalization")
    return "hidden" if known and not squashed else "other"


def _follows_rule(one: _Size) -> bool:
    """Whether a rule that people know by name gives this size: He's of the fan-out is five times
    that of the fan-in where a layer narrows.
    """
    return bool(list_followed(one.map.draw, one.map.fans, FAN_SCHEMES))


def _list_large(sizes: Sequence[_Size]) -> list[_Size]:
    """The layers that are too large; last ones only if most of the others are too, since else the
    initial loss tells.
    """
    large = [
        one
        for one in sizes
        if one.ratio > (LARGE_NORMALIZED if one.normalized else LARGE) and not _follows_rule(one)
    ]
    inner = [one for one in large if one.place != "last"]
    others = sum(one.place != "last" for one in sizes)
    return large if len(inner) > others / 2 else inner


def _list_small(sizes: Sequence[_Size]) -> list[_Size]:
    """The layers that are too small for their place; where most hidden ones are, all that are next
    to nothing.
    """
    hidden = [one for one in sizes if one.place == "hidden"]
    usual = statistics.median(one.ratio for one in hidden) if len(hidden) >= MIN_COMPARED else 0.0
    limits: dict[Place, float] = {
        "hidden": SMALL,
        "recurrent": SMALL,
        "last": SMALL_END,
        "other": 0.0,
    }
    small = [one for one in sizes if one.ratio < limits[one.place]]
    conventional = [one for one in sizes if USUAL_STDS[0] < one.map.draw.std < USUAL_STDS[1]]
    meant = conventional if len(conventional) >= MIN_COMPARED else []
    small += [
        one
        for one in hidden
        if SMALL <= one.ratio < UNLIKE * usual and not any(one is other for other in meant)
    ]
    states = {
        one.map.use.module
        for one in sizes
        if one.map.use.role == "recurrent weight" and one.ratio < SMALL_STATE
    }
    small += [one for one in sizes if one.map.use.module in states and one.ratio < SMALL_STATE]
    if sum(one.ratio < SMALL for one in hidden) > len(hidden) / 2:
        small += [one for one in sizes if one.ratio < SMALL]
    return small


def _describe(worst: _Size, found: Sequence[_Size], what: str) -> Finding:
    names = tuple(dict.fromkeys([worst.map.name, *(one.map.name for one in found)]))
    factor = worst.ratio if what == "large" else 1 / worst.ratio
    effect = (
        "steps of the usual size hardly turn weights that large, and what follows is saturated or "
        "explodes where nothing normalizes it"
        if what == "large"
        else "the signal is lost in biases, or the first steps overwrite the weights"
    )
    return Finding(
        code="F028",
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"The gain of {worst.map.name} is {worst.gain:.3g} (standard deviation "
            f"{worst.map.draw.std:.3g}, fan-in {worst.map.fans.fan_in:g}), {factor:.3g} times too "
            f"{what} for what follows: {effect}."
        ),
        remedy=(
            "Draw these weights by a rule that counts the fan-in, such as "
            "fanin.initialize(model, 'auto', seed=0)."
        ),
        evidence={
            "gain": worst.gain,
            "expected_gain": worst.wanted,
            "std": worst.map.draw.std,
            "fan_in": float(worst.map.fans.fan_in),
            "weights": len(names),
        },
        patches=(Patch(operation="initialize", parameters=names, initializer="auto"),),
    )
