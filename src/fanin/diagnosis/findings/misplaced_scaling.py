"""Depth scaling on the wrong matrix (F030): a layer that reads from a residual stream is as small
as those that write to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, get_anatomy
from fanin.diagnosis.findings.residual_scaling import FEWEST_BRANCHES
from fanin.diagnosis.findings.role_scales import (
    UNITS,
    SizedLayer,
    average_log,
    choose_units,
    compute_reference,
    list_sized_layers,
)
from fanin.diagnosis.findings.scaling_schemes import FAN_SCHEMES, list_followed
from fanin.diagnosis.findings.signal_paths import is_normalized
from fanin.diagnosis.findings.weight_draws import ERRORS
from fanin.diagnosis.patch import Patch
from fanin.structure import ResidualStream

EXACT = 0.01
"""Relative, beside the sampling error: a rule of depth is hit exactly, or it is another rule."""


def find_wrong_scaling(examination: Examination) -> Iterator[Finding]:
    """F030: a layer that does not write to the stream, scaled as those that do."""
    if examination.structure is None:
        return
    anatomy = get_anatomy(examination)
    for stream in examination.structure.streams:
        if stream.depth < FEWEST_BRANCHES:
            continue
        layers = list_sized_layers(anatomy, stream)
        roles = dict.fromkeys(one.role for one in layers if not one.writes and one.role != "inner")
        for role in roles:
            suspects = [one for one in layers if one.role == role and one.std > 0]
            others = [one for one in layers if one.role != role and one.std > 0]
            yield from _judge_role(anatomy, stream, role, suspects, others)


@dataclass(frozen=True)
class _Pattern:
    """How sizes fall in a stream: with its depth, or from block to block."""

    text: str
    ratios: tuple[float, ...]
    as_writers: bool = False


def _judge_role(
    anatomy: Anatomy,
    stream: ResidualStream,
    role: str,
    suspects: Sequence[SizedLayer],
    others: Sequence[SizedLayer],
) -> Iterator[Finding]:
    if len(suspects) < 2 or all(one.writes for one in others) or _follow_fans(suspects):
        return
    found: list[tuple[_Pattern, float]] = []
    for unit in choose_units(others, odd_role=False):
        reference = compute_reference(others, unit)
        if not reference:
            return
        ratios = [one.measure(UNITS[unit]) / reference for one in suspects]
        pattern = _match_pattern(stream, ratios, suspects, others, unit, reference)
        if pattern is None or (role == "query" and _absorbs_scale(anatomy, suspects, ratios)):
            return
        found.append((pattern, average_log(ratios)))
    if found:
        yield _describe_wrong(anatomy, stream, role, suspects, others, *found[0])


def _follow_fans(suspects: Sequence[SizedLayer]) -> bool:
    """Whether one usual rule of the fans explains all: torch's default is 1/√3 of LeCun's."""
    followed = [
        {scheme.name for scheme in list_followed(one.map.draw, one.map.fans, FAN_SCHEMES)}
        for one in suspects
    ]
    return bool(set.intersection(*followed))


def _match_pattern(
    stream: ResidualStream,
    ratios: Sequence[float],
    suspects: Sequence[SizedLayer],
    others: Sequence[SizedLayer],
    unit: str,
    reference: float,
) -> _Pattern | None:
    """The pattern of depth scaling that the suspects follow; None if they follow none."""
    if average_log(ratios) > stream.depth**-0.25:
        return None
    for pattern in _list_patterns(stream, suspects, others, unit, reference):
        if _follow(ratios, pattern, suspects):
            return pattern
    return None


def _follow(ratios: Sequence[float], pattern: _Pattern, suspects: Sequence[SizedLayer]) -> bool:
    """Whether each ratio is that of the pattern within its sampling error, and their mean too."""
    noise = math.sqrt(2) * ERRORS if pattern.as_writers else ERRORS
    errors = [noise * one.map.draw.error + EXACT for one in suspects]
    off = [math.log(one / two) for one, two in zip(ratios, pattern.ratios, strict=True)]
    mean_error = EXACT + (fmean(errors) - EXACT) / math.sqrt(len(errors))
    return abs(fmean(off)) < mean_error and all(
        abs(one) < 1.5 * error for one, error in zip(off, errors, strict=True)
    )


def _list_patterns(
    stream: ResidualStream,
    suspects: Sequence[SizedLayer],
    others: Sequence[SizedLayer],
    unit: str,
    reference: float,
) -> Iterator[_Pattern]:
    writers = {one.branch: one.measure(UNITS[unit]) / reference for one in others if one.writes}
    own = [writers.get(one.branch, 0.0) for one in suspects]
    if all(own) and average_log(own) < stream.depth**-0.25:
        yield _Pattern("as the layers that write to the stream", tuple(own), as_writers=True)
    depth = stream.depth
    blocks = list(dict.fromkeys(one.branch for one in suspects))
    number = [blocks.index(one.branch) + 1 for one in suspects]
    yield _Pattern(f"by 1/√{depth}, the number of branches", (depth**-0.5,) * len(suspects))
    if len(blocks) >= FEWEST_BRANCHES // 2:
        yield _Pattern("by 1/√(2·(block + 1))", tuple(1 / math.sqrt(2 * one) for one in number))
        yield _Pattern("by 1/√(block + 1)", tuple(1 / math.sqrt(one) for one in number))


def _absorbs_scale(
    anatomy: Anatomy, suspects: Sequence[SizedLayer], ratios: Sequence[float]
) -> bool:
    """Whether queries are smaller by 1/√head_dim: attention without a scale of its own."""
    names = {anatomy.get_layer(one.map.use) for one in suspects}
    heads = {
        one.head_dim
        for one in anatomy.attentions
        if one.head_dim and not names.isdisjoint(one.query)
    }
    return any(abs(math.log(average_log(ratios) * math.sqrt(size))) < 3 * EXACT for size in heads)


def _describe_wrong(
    anatomy: Anatomy,
    stream: ResidualStream,
    role: str,
    suspects: Sequence[SizedLayer],
    others: Sequence[SizedLayer],
    pattern: _Pattern,
    ratio: float,
) -> Finding:
    names = tuple(dict.fromkeys(one.map.name for one in suspects))
    unit = choose_units(others, odd_role=False)[0]
    reference = compute_reference(others, unit)
    assert reference
    writers = [one.measure(UNITS[unit]) / reference for one in others if one.writes]
    instead = bool(writers) and average_log(writers) > stream.depth**-0.25
    ignored = all(_is_ignored(anatomy, one) for one in suspects)
    what = (
        "instead of the layers that write to the stream"
        if instead
        else ("though they do not write to the stream")
    )
    return Finding(
        code="F030",
        severity="note" if ignored else "warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"The {len(suspects)} {role} weights are scaled {pattern.text}, {what}: they start "
            f"at {ratio:.2g} times the size of the other layers that read from it."
        ),
        remedy=(
            "Scale by depth only the layers whose output is added to the stream: the attention "
            "output and the down projection. Start these as the other layers are."
        ),
        evidence={
            "role": role,
            "branches": stream.depth,
            "ratio": ratio,
            "expected_ratio": 1.0,
            "pattern": pattern.text,
            "writers_ratio": average_log(writers) if writers else None,
        },
        patches=tuple(_list_patches(suspects, unit, reference)),
    )


def _list_patches(suspects: Sequence[SizedLayer], unit: str, reference: float) -> Iterator[Patch]:
    """Each weight back to the size of the others; a part of a packed weight if it is some rows."""
    for one in suspects:
        rows = None
        if one.map.part:
            part = next(p for p in one.map.use.layout.parts if p.name == one.map.part)
            if len(part.steps) != 1 or part.steps[0].method != "narrow" or part.steps[0].args[0]:
                continue
            start, size = part.steps[0].args[1:]
            rows = (start, start + size)
        yield Patch(
            operation="scale",
            parameters=(one.map.name,),
            value=reference / one.measure(UNITS[unit]),
            rows=rows,
        )


def _is_ignored(anatomy: Anatomy, one: SizedLayer) -> bool:
    nodes = anatomy.nodes.get(anatomy.get_layer(one.map.use), ())
    return anatomy.graph is not None and is_normalized(anatomy.graph, nodes)
