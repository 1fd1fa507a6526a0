"""Residual branches that are not scaled by depth (F029).

A stream that L branches are added to grows to √L times a branch's size. GPT-2 therefore starts the
layers that write to the stream 1/√L smaller; T-Fixup, DeepNet and others have rules of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.anatomy import Anatomy, get_anatomy
from fanin.diagnosis.findings.role_scales import (
    UNITS,
    SizedLayer,
    average_log,
    choose_units,
    compute_reference,
    list_sized_layers,
)
from fanin.diagnosis.patch import Patch
from fanin.structure import ResidualBranch, ResidualStream

FEWEST_BRANCHES = 4
"""Below, 1/√L is more than 0.58, which other rules give by chance too, and costs nothing."""
DEEP = 12
"""From so many branches on (six blocks of a transformer) missing scales are a warning: published
recipes for such depths have them, and 1/√12 is well below what chance or another rule gives.
"""


def find_unscaled_branches(examination: Examination) -> Iterator[Finding]:
    """F029: writers as large as the other layers of a pre-norm stream."""
    if examination.structure is None:
        return
    anatomy = get_anatomy(examination)
    for stream in examination.structure.streams:
        layers = list_sized_layers(anatomy, stream)
        judged = [
            one
            for one in layers
            if one.writes and _is_in_question(anatomy, stream.branches[one.branch], one)
        ]
        if stream.depth >= FEWEST_BRANCHES and judged:
            yield from _judge_writers(stream, layers, judged)


def _is_in_question(anatomy: Anatomy, branch: ResidualBranch, one: SizedLayer) -> bool:
    """Whether a writer's size is the size of its branch: it starts from a normalized stream, and
    nothing unknown, no normalization and no gate lies between it and the sum.
    """
    if "pre" not in branch.norms or "end" in branch.norms or "post" in branch.norms:
        return False
    if one.end is None or one.end.normalized or not one.std:
        return False
    return one.end.factor is not None or _is_expert(anatomy, one)


def _is_expert(anatomy: Anatomy, one: SizedLayer) -> bool:
    structure = anatomy.structure
    role = structure.get_role(anatomy.get_layer(one.map.use)) if structure else None
    return role is not None and role.expert


@dataclass(frozen=True)
class _Comparison:
    """The writers of a stream beside its other layers, in one unit."""

    unit: str
    reference: float
    ratios: tuple[float, ...]
    """Of each writer, its size over the reference."""

    @property
    def average(self) -> float:
        return average_log(self.ratios)


def _compare(layers: Sequence[SizedLayer], judged: Sequence[SizedLayer]) -> _Comparison | None:
    """In the unit that shows the smallest writers: where units are as good, doubt speaks for the
    model.
    """
    found = []
    for unit in choose_units(layers):
        reference = compute_reference(layers, unit)
        if reference:
            ratios = tuple(one.measure(UNITS[unit]) / reference for one in judged)
            found.append(_Comparison(unit, reference, ratios))
    return min(found, key=lambda one: one.average, default=None)


def _judge_writers(
    stream: ResidualStream, layers: Sequence[SizedLayer], judged: Sequence[SizedLayer]
) -> Iterator[Finding]:
    compared = _compare(layers, judged)
    if compared is None:
        return
    # Half way, in logarithms, between unscaled (1) and scaled (1/√L).
    limit = stream.depth**-0.25
    large = [one for one, ratio in zip(judged, compared.ratios, strict=True) if ratio > limit]
    partly = 0 < len(large) < len(judged)
    if not large or (partly and compared.average <= limit and not _is_one_kind(judged, large)):
        return
    yield _describe_unscaled(stream, large, compared, partly=partly)


def _is_one_kind(judged: Sequence[SizedLayer], large: Sequence[SizedLayer]) -> bool:
    """Whether all writers of one place in the blocks are large: a rule that missed them. Scales
    that fall with depth are large in the first blocks instead.
    """
    branches = sorted({one.branch for one in judged})
    found = {branches.index(one.branch) for one in large}
    return len(found) >= len(branches) // 2 and (max(found) - min(found) >= len(branches) - 3)


def _describe_unscaled(
    stream: ResidualStream,
    large: Sequence[SizedLayer],
    compared: _Comparison,
    *,
    partly: bool,
) -> Finding:
    factor = 1 / math.sqrt(stream.depth)
    names = tuple(dict.fromkeys(one.map.name for one in large))
    spatial = all(len(one.map.layout.kernel) > 0 for one in large)
    severity: Severity = "warning" if partly or (stream.depth >= DEEP and not spatial) else "note"
    total = len(compared.ratios)
    which = (
        f"{len(large)} of the {total} layers that write"
        if partly
        else (f"The {total} layers that write")
    )
    ratio = average_log(one.measure(UNITS[compared.unit]) / compared.reference for one in large)
    return Finding(
        code="F029",
        severity=severity,
        where=names[0],
        also=names[1:],
        summary=(
            f"{which} to a residual stream of {stream.depth} branches start at {ratio:.2g} times "
            f"the size of the other layers; scaled by depth they would start at {factor:.2g} times."
        ),
        remedy=(
            f"Multiply these weights by 1/√{stream.depth} = {factor:.3g} after all else is drawn, "
            "or start the branches at zero."
        ),
        evidence={
            "branches": stream.depth,
            "ratio": ratio,
            "expected_ratio": factor,
            "compared_by": compared.unit,
            "partly_scaled": partly,
        },
        patches=(Patch(operation="scale", parameters=names, value=factor),),
    )
