"""Packed maps that were drawn as one: q, k and v, or gate and up projection (F026), and the gates
of a recurrent layer (F027).

A rule that looks at the fan-out takes that of the pack: Xavier's standard deviation for q, k and v
in one is 0.71 of what it is for each. An orthogonal pack has no orthogonal part at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import DrawnMap, WeightState, get_anatomy
from fanin.diagnosis.findings.scaling_schemes import HE_OUT, XAVIER, is_explained, list_followed
from fanin.diagnosis.patch import Patch
from fanin.fans import Fans
from fanin.fans.packed_recurrent import GRU_GATES, LSTM_GATES

HARMFUL = 1.15
"""Packs of two maps make Xavier's standard deviation 1.2 times too small; a pack of two whose
fan-out is small beside the fan-in, less than that.
"""
LEAST_CERTAIN = 0.03
"""The largest relative sampling error of a pack's standard deviation (550 normal numbers): the two
rules that are told apart differ by 15 % or more.
"""

_GATES = {*LSTM_GATES, *GRU_GATES}


@dataclass(frozen=True)
class PackedDraw:
    """A pack that was drawn as one map."""

    state: WeightState
    rule: str
    spec: str
    """The initializer that does the same for each part."""
    factor: float
    """What the standard deviation of its parts should be multiplied by."""
    certain: bool = True
    """Whether no other rule explains it, too."""


def find_packed_projections(examination: Examination) -> Iterator[Finding]:
    """F026: projections, which are told from gates of a recurrence by their names in the pack."""
    found = list(iterate_packed_draws(examination, lambda state: not is_recurrent(state)))
    yield from _describe_projections(found)


def iterate_packed_draws(
    examination: Examination, belongs: Callable[[WeightState], bool]
) -> Iterator[PackedDraw]:
    """The packs among some weights that were drawn as one map; where another rule fits too, only if
    one that is certain follows the same rule.
    """
    packs = [
        state
        for state in get_anatomy(examination).weights
        if len(state.maps) > 1 and state.use.role != "embedding" and belongs(state)
    ]
    found = [draw for state in packs if (draw := _find_packed_draw(state)) is not None]
    certain = {draw.rule for draw in found if draw.certain}
    yield from (draw for draw in found if draw.rule in certain)


def is_recurrent(state: WeightState) -> bool:
    """Whether a pack holds the gates of a recurrent layer, as its class or its use shows."""
    names = {one.part.rstrip("0123456789") for one in state.maps}
    return names <= _GATES or names == {"gate", "rest"}


def _find_packed_draw(state: WeightState) -> PackedDraw | None:
    parts = [one for one in state.maps if one.layout.fans is not None]
    if not parts or any(one.counted for one in state.use.layout.parts):
        return None
    if _is_one_orthogonal(state):
        return _compare_orthogonal(state, parts)
    pack = _read_pack_fans(parts)
    if state.draw.error > LEAST_CERTAIN:
        return None
    certain = not any(is_explained(state.draw, one.fans) for one in parts)
    for scheme in (XAVIER, HE_OUT):
        if list_followed(state.draw, pack, (scheme,)):
            factor = max(scheme.compute_std(one.fans) for one in parts) / scheme.compute_std(pack)
            if factor > HARMFUL:
                kind = "uniform" if state.draw.kind == "uniform" else "normal"
                spec = scheme.spec.replace("normal", kind)
                return PackedDraw(state, scheme.name, spec, factor, certain)
    return None


def _read_pack_fans(parts: Sequence[DrawnMap]) -> Fans:
    return Fans(parts[0].fans.fan_in, sum(one.fans.fan_out for one in parts))


def _is_one_orthogonal(state: WeightState) -> bool:
    """Whether the pack is orthogonal as a whole: its columns are, and those of its parts not."""
    return state.draw.kind == "orthogonal" and all(
        one.draw.kind != "orthogonal" for one in state.maps
    )


def _compare_orthogonal(state: WeightState, parts: Sequence[DrawnMap]) -> PackedDraw:
    """An orthogonal matrix of m × n has the standard deviation 1/√max(m, n)."""
    pack = _read_pack_fans(parts)
    part = parts[0].fans
    factor = math.sqrt(max(pack.fan_in, pack.fan_out) / max(part.fan_in, part.fan_out))
    return PackedDraw(state, "orthogonal", "orthogonal", factor)


def _describe_projections(found: Sequence[PackedDraw]) -> Iterator[Finding]:
    for rule in dict.fromkeys(one.rule for one in found):
        some = [one for one in found if one.rule == rule]
        first = max(some, key=lambda one: one.factor)
        parts = ", ".join(dict.fromkeys(one.part for one in first.state.maps))
        yield describe_packs("F026", some, f"one map that packs {parts}")


def describe_packs(code: str, found: Sequence[PackedDraw], what: str) -> Finding:
    """The finding about packs of one rule."""
    first = max(found, key=lambda one: one.factor)
    rest = [one for one in found if one is not first]
    names = (first.state.name, *(one.state.name for one in rest))
    part = first.state.maps[0]
    expected = first.state.draw.std * first.factor
    orthogonal = first.rule == "orthogonal"
    return Finding(
        code=code,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"{first.rule} was applied to {what}: each part has the standard deviation "
            f"{first.state.draw.std:.3g} instead of {expected:.3g}"
            + (", and none is orthogonal." if orthogonal else ".")
        ),
        remedy=f"Draw each part as a map of its own: fanin.initialize with {first.spec!r} does.",
        evidence={
            "rule": first.rule,
            "std": first.state.draw.std,
            "expected_std": expected,
            "parts": len(first.state.maps),
            "fan_in": part.fans.fan_in,
            "fan_out": part.fans.fan_out,
            "fan_out_of_pack": sum(one.fans.fan_out for one in first.state.maps),
        },
        patches=tuple(patch for one in (first, *rest) for patch in _list_patches(one)),
    )


def _list_patches(one: PackedDraw) -> Iterator[Patch]:
    """A factor repairs independent numbers; orthogonal parts must be drawn anew, some rows each."""
    if one.state.use.through:
        return
    if one.rule != "orthogonal":
        yield Patch(operation="scale", parameters=(one.state.name,), value=one.factor)
        return
    for part in one.state.use.layout.parts:
        if len(part.steps) == 1 and part.steps[0].method == "narrow" and not part.steps[0].args[0]:
            start, size = part.steps[0].args[1:]
            yield Patch(
                operation="initialize",
                parameters=(one.state.name,),
                initializer=one.spec,
                rows=(start, start + size),
            )
