"""F017: a parameter that is unlike those of the same place in the other blocks.

One layer of many that was forgotten, or initialized twice: its standard deviation is far from its
siblings', or it is constant where they are drawn. Scales that change with depth are no defect, nor
are blocks that alternate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.drawn_numbers import describe_draw
from fanin.diagnosis.findings.siblings import group_siblings, is_periodic, is_schedule
from fanin.diagnosis.held_parameters import SAMPLE, HeldParameter
from fanin.diagnosis.patch import Patch

CODE = "F017"

FACTOR = 1.8
"""Smaller differences are often meant, and cost little."""
SPREADS = 10.0
"""In units of the siblings' own spread (median absolute deviation): trained models and schedules
spread widely, and their ends are no defects."""
NOISES = 8.0
"""In units of what chance does to the standard deviation of so many numbers: 1/√(2n)."""
MOST = 0.25
"""A larger share is a kind of its own."""
LEAST_NUMBERS = 8
"""A parameter of fewer numbers is not compared."""


@dataclass(frozen=True)
class _Odd:
    held: HeldParameter
    siblings: tuple[HeldParameter, ...]
    ratio: float
    """Its size over its siblings'; 0 or infinite if one of them is constant."""
    text: str


def find_unlike_siblings(examination: Examination) -> Iterator[Finding]:
    """One finding for each block that has odd parameters."""
    compared = [
        one
        for one in examination.held
        if one.values.numel() >= LEAST_NUMBERS and one.finite and one.role != "embedding"
    ]
    blocks: dict[str, list[_Odd]] = {}
    for siblings in group_siblings(compared):
        for odd in _find_odd(siblings):
            blocks.setdefault(_name_block(odd), []).append(odd)
    for found in blocks.values():
        yield _report(found)


def _find_odd(siblings: Sequence[HeldParameter]) -> list[_Odd]:
    """The few that are of another kind than the rest, or else of another size."""
    constant = [one for one in siblings if one.constant is not None]
    drawn = [one for one in siblings if one.constant is None]
    few, many = sorted((constant, drawn), key=len)
    if few and _are_exceptions(few, siblings):
        return [_describe_kind(one, many) for one in few]
    if len(drawn) == len(siblings):
        return _find_odd_sizes(siblings, [math.log(one.rms) for one in siblings])
    if len(constant) == len(siblings):
        return _find_odd_constants(siblings)
    return []


def _describe_kind(held: HeldParameter, siblings: Sequence[HeldParameter]) -> _Odd:
    if held.constant is not None:
        text = f"is constant ({held.constant:.4g}), where its siblings are drawn"
        return _Odd(held, tuple(siblings), 0.0, text)
    text = f"has a standard deviation of {held.std:.3g}, where its siblings are constant"
    return _Odd(held, tuple(siblings), math.inf, text)


def _find_odd_constants(siblings: Sequence[HeldParameter]) -> list[_Odd]:
    """Constants of another value than the usual one."""
    values = [float(one.constant or 0.0) for one in siblings]
    usual = sorted(values)[len(values) // 2]
    odd = [one for one, value in zip(siblings, values, strict=True) if not _is_near(value, usual)]
    rest = tuple(one for one in siblings if one not in odd)
    if not odd or not _are_exceptions(odd, siblings) or len({one.constant for one in rest}) > 1:
        return []
    return [
        _Odd(one, rest, (one.constant or 0.0) / usual if usual else math.inf, text)
        for one in odd
        for text in [f"is {one.constant:.4g}, where its siblings are {usual:.4g}"]
    ]


def _is_near(value: float, usual: float) -> bool:
    return abs(value - usual) <= (FACTOR - 1) * abs(usual)


def _find_odd_sizes(siblings: Sequence[HeldParameter], logs: Sequence[float]) -> list[_Odd]:
    """Those whose size is far from the median, in units of the spread and of chance."""
    middle = _take_median(logs)
    spread = 1.4826 * _take_median([abs(log - middle) for log in logs])
    noise = 1 / math.sqrt(2 * min(siblings[0].values.numel(), SAMPLE))
    limit = max(math.log(FACTOR), SPREADS * spread, NOISES * noise)
    odd = [one for one, log in zip(siblings, logs, strict=True) if abs(log - middle) > limit]
    if not odd or not _are_exceptions(odd, siblings) or is_schedule(logs):
        return []
    rest = tuple(one for one in siblings if one not in odd)
    return [
        _Odd(
            one,
            rest,
            one.rms / math.exp(middle),
            f"has numbers of size {one.rms:.3g} (rms), where its siblings have "
            f"{math.exp(middle):.3g}",
        )
        for one in odd
    ]


def _are_exceptions(odd: Sequence[HeldParameter], siblings: Sequence[HeldParameter]) -> bool:
    """Whether so few differ that nobody meant it, at no regular distance."""
    places = [index for index, one in enumerate(siblings) if one in odd]
    return len(odd) <= MOST * len(siblings) and not is_periodic(places, len(siblings))


def _take_median(numbers: Sequence[float]) -> float:
    ordered = sorted(numbers)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _name_block(odd: _Odd) -> str:
    """The part of its name up to the number in which its siblings differ."""
    own = odd.held.name.split(".")
    other = odd.siblings[0].name.split(".")
    different = [
        index for index, (one, two) in enumerate(zip(own, other, strict=True)) if one != two
    ]
    return ".".join(own[: different[0] + 1])


def _report(found: Sequence[_Odd]) -> Finding:
    worst = max(found, key=lambda odd: (odd.held.is_weight, abs(_take_log(odd.ratio))))
    names = tuple(dict.fromkeys([worst.held.name, *(odd.held.name for odd in found)]))
    count = len(worst.siblings)
    return Finding(
        code=CODE,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=f"{names[0]} {worst.text} ({count} of them, such as {worst.siblings[0].name}).",
        remedy="Initialize it as its siblings are, unless this block is meant to differ.",
        evidence={
            "rms": worst.held.rms,
            "siblings_rms": _take_median([one.rms for one in worst.siblings]),
            "siblings": count,
            "parameters": len(names),
        },
        patches=tuple(_make_patch(odd) for odd in found if odd.held.trainable),
    )


def _take_log(ratio: float) -> float:
    return math.log(ratio) if 0 < ratio < math.inf else math.inf


def _make_patch(odd: _Odd) -> Patch:
    """As the sibling of median size."""
    ordered = sorted(odd.siblings, key=lambda one: one.rms)
    model = ordered[len(ordered) // 2]
    names = (odd.held.name,)
    if model.constant is not None:
        return Patch(operation="set", parameters=names, value=model.constant)
    return Patch(operation="initialize", parameters=names, initializer=describe_draw(model.values))
