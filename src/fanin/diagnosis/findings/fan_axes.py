"""Fans of the wrong axis (F025): a weight whose variance fits a usual rule exactly, but with fans
that it does not have.

``torch.nn.init`` sees a tensor only. It takes a transposed convolution, or a matrix for ``x @ w``,
for (out, in), and does not divide the fan-out of a grouped convolution by its groups. Rules that
people write add up a kernel's axes where they should multiply them, or forget them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.anatomy import Anatomy, DrawnMap, get_anatomy
from fanin.diagnosis.findings.quick_moments import KnownActivation
from fanin.diagnosis.findings.scaling_schemes import (
    FAN_SCHEMES,
    TORCH,
    Scheme,
    is_explained,
    list_followed,
)
from fanin.diagnosis.findings.signal_paths import is_normalized
from fanin.diagnosis.patch import Patch
from fanin.fans import Fans, WeightLayout, get_tensor_layout

HARMFUL = 1.3
"""A standard deviation that is wrong by less is within what rules differ by: √2 between Xavier and
He of a square weight.
"""
SURE_ALONE = 0.02
"""The largest relative sampling error (1,250 normal numbers) of a weight that is judged alone: with
a larger one some rule with some wrong fan fits by chance.
"""
SURE_TOGETHER = 0.08
"""The same (80 numbers) where a second weight of another shape follows the same rule."""
_KERNEL_MISTAKES = ("sum", "sum of taps", "no kernel")
"""So many that some rule fits one shape by chance; two shapes must follow the same one."""


@dataclass(frozen=True)
class _Mistake:
    """One wrong way to count fans, and its fans of one weight."""

    name: str
    text: str
    fans: Fans


@dataclass(frozen=True)
class _Case:
    """A weight that was drawn with wrong fans."""

    map: DrawnMap
    mistake: _Mistake
    scheme: Scheme
    fans: Fans
    """The true ones, with the stride of a transposed convolution taken into account."""
    factor: float
    """What its standard deviation should be multiplied by."""
    harmless: bool


def find_wrong_axes(examination: Examination) -> Iterator[Finding]:
    """F025, one finding for each mistake and rule."""
    anatomy = get_anatomy(examination)
    groups: dict[tuple[str, str, bool], list[_Case]] = {}
    for one in _pool_alike(anatomy.maps):
        case = _find_case(anatomy, one)
        if case is not None:
            key = case.mistake.name, case.scheme.name, case.harmless
            groups.setdefault(key, []).append(case)
    for cases in groups.values():
        if _is_certain(anatomy, cases):
            yield _describe(cases)


def _pool_alike(maps: Iterable[DrawnMap]) -> Iterator[DrawnMap]:
    """The maps; those of one shape and distribution whose sizes agree have the size of all of them
    together, which is known better: a kernel of a depthwise convolution has few numbers.
    """
    groups: dict[tuple[object, ...], list[DrawnMap]] = {}
    for one in maps:
        key = one.layout.shape, one.layout.groups, one.layout.transposed, one.draw.kind
        groups.setdefault(key, []).append(one)
    for members in groups.values():
        count = sum(one.draw.count for one in members)
        variance = sum(one.draw.count * one.draw.std**2 for one in members) / max(count, 1)
        std = math.sqrt(variance)
        together = all(one.draw.equals(std) for one in members)
        for one in members:
            pooled = replace(one.draw, std=std, count=count)
            yield replace(one, draw=pooled) if together else one


def _is_certain(anatomy: Anatomy, cases: list[_Case]) -> bool:
    """Whether the rule is no coincidence: enough numbers, or several weights that follow it; those
    that give no chance for the mistake count too.
    """
    shapes = {one.map.layout.shape for one in cases}
    shapes |= {one.layout.shape for one in _list_followers(anatomy, cases[0].scheme)}
    if cases[0].mistake.name in _KERNEL_MISTAKES:
        return len({one.map.layout.shape for one in cases}) > 1
    limit = SURE_TOGETHER if len(shapes) > 1 else SURE_ALONE
    return min(one.map.draw.error for one in cases) <= limit


def _list_followers(anatomy: Anatomy, scheme: Scheme) -> list[DrawnMap]:
    """The maps that follow a rule with their true fans."""
    return [one for one in anatomy.maps if list_followed(one.draw, one.fans, (scheme,))]


def _find_case(anatomy: Anatomy, one: DrawnMap) -> _Case | None:
    fans, layout = one.layout.fans, one.layout
    if fans is None or one.part or one.draw.kind not in ("normal", "uniform", "truncated"):
        return None
    outward = not layout.transposed
    gains = _list_gains(anatomy, one)
    if is_explained(one.draw, fans, outward=outward, gains=gains):
        return None
    fans = one.use.get_effective_layout().fans or fans
    if any(one.draw.equals(gain / math.sqrt(fans.fan_in)) for gain in gains or (1.0,)):
        return None
    for mistake in _list_mistakes(layout, one.fans):
        followed = list_followed(one.draw, mistake.fans, FAN_SCHEMES)
        # Of several rules that fit a small weight, that of most other weights.
        followed.sort(key=lambda scheme: -len(_list_followers(anatomy, scheme)))
        for scheme in followed:
            factor = scheme.compute_std(fans) / scheme.compute_std(mistake.fans)
            if max(factor, 1 / factor) > 1 + one.draw.tolerance:
                harmless = _is_harmless(anatomy, one, factor)
                return _Case(one, mistake, scheme, fans, factor, harmless)
    return None


def _list_gains(anatomy: Anatomy, one: DrawnMap) -> list[float]:
    """The gains that suit the activation that follows."""
    follower = anatomy.get_follower(one.use)
    activation = KnownActivation(follower.activation if follower is not None else None)
    if activation.identity:
        return []
    return [activation.compute_gain(), activation.compute_critical_gain()]


def _is_harmless(anatomy: Anatomy, one: DrawnMap, factor: float) -> bool:
    """Whether the size is off by little, or a normalization undoes it."""
    nodes = anatomy.nodes.get(anatomy.get_layer(one.use), ())
    normalized = anatomy.graph is not None and is_normalized(anatomy.graph, nodes)
    return normalized or max(factor, 1 / factor) < HARMFUL


def _list_mistakes(layout: WeightLayout, fans: Fans) -> Iterator[_Mistake]:
    """The wrong ways to count that give other fans than the true ones."""
    seen = get_tensor_layout(layout.shape).fans
    taps = math.prod(layout.kernel)
    if seen is not None and layout.transposed:
        yield _Mistake(
            "transposed",
            "the axes of inputs and outputs exchanged, as torch.nn.init sees the tensor",
            seen,
        )
    elif seen is not None and layout.groups > 1:
        yield _Mistake(
            "groups",
            f"the fan-out of all groups together ({seen.fan_out:g} instead of {fans.fan_out:g})",
            seen,
        )
    if taps > 1:
        ins, outs = fans.fan_in / taps, fans.fan_out / taps
        total = sum(layout.kernel)
        yield _Mistake(
            "sum",
            "the axes of the kernel added up instead of multiplied",
            Fans(ins + total, outs + total),
        )
        yield _Mistake(
            "sum of taps",
            "the sum of the kernel's axes instead of their product",
            Fans(ins * total, outs * total),
        )
        yield _Mistake("no kernel", "the kernel left out of the fans", Fans(ins, outs))


def _describe(cases: list[_Case]) -> Finding:
    worst = max(cases, key=lambda one: abs(math.log(one.factor)))
    cases = [worst, *(one for one in cases if one is not worst)]
    names = tuple(dict.fromkeys(one.map.name for one in cases))
    first, fans = worst.map, worst.fans
    harmless = worst.harmless or worst.scheme is TORCH
    severity: Severity = "note" if harmless else "warning"
    size = (
        f"{1 / worst.factor:.2g} times too large"
        if worst.factor < 1
        else f"{worst.factor:.2g} times too small"
    )
    why = " (a normalization undoes it)" if worst.harmless else ""
    return Finding(
        code="F025",
        severity=severity,
        where=names[0],
        also=names[1:],
        summary=(
            f"The standard deviation {first.draw.std:.3g} is {worst.scheme.name}'s for "
            f"{worst.mistake.text}: {size} for this layer, whose fan-in is {fans.fan_in:g} and "
            f"fan-out {fans.fan_out:g}{why}."
        ),
        remedy=(
            "Draw these weights with the fans of their layer, as fanin.initialize does"
            + (
                "."
                if worst.scheme is not TORCH
                else "; this is what torch's own layer starts from."
            )
        ),
        evidence={
            "std": first.draw.std,
            "expected_std": worst.scheme.compute_std(fans),
            "scheme": worst.scheme.name,
            "mistake": worst.mistake.name,
            "fan_in": fans.fan_in,
            "fan_out": fans.fan_out,
            "wrong_fan_in": worst.mistake.fans.fan_in,
            "wrong_fan_out": worst.mistake.fans.fan_out,
        },
        patches=tuple(
            Patch(operation="scale", parameters=(one.map.name,), value=one.factor)
            for one in cases
            if not one.map.use.through
        ),
    )
