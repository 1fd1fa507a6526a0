"""Residual streams without normalization that grow from branch to branch (F012).

A branch whose output is as large as its input adds to the stream's variance what is there already:
2^L after L branches. Fixup, SkipInit and others start branches at or near zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.anatomy import Anatomy, get_anatomy
from fanin.diagnosis.findings.quick_moments import KnownActivation
from fanin.diagnosis.findings.signal_paths import BranchEnd, find_branch_end
from fanin.diagnosis.measurement import Measurement
from fanin.diagnosis.patch import Patch
from fanin.structure import ResidualBranch

FEWEST_BRANCHES = 3
USUAL = 3.0
"""Independent branches of equal size make a stream √L times as large; three times that is growth of
another kind.
"""
FASTEST, FASTEST_BRANCHES = 1.3, 6
"""Growth of the root mean square by 30 % with each of so many branches is exponential."""
RUINOUS = 1e4
"""Outputs so large make the first steps overflow or throw the weights away."""


@dataclass(frozen=True)
class _BranchGrowth:
    branch: ResidualBranch
    factor: float
    """What the branch multiplies the root mean square of the stream by."""


def find_residual_growth(examination: Examination) -> Iterator[Finding]:
    """F012, one finding for the model."""
    structure = examination.structure
    if structure is None:
        return
    anatomy = get_anatomy(examination)
    found = [
        _BranchGrowth(branch, factor)
        for stream in structure.streams
        for branch in stream.branches
        if not branch.norms and (factor := _find_factor(anatomy, examination, branch)) is not None
    ]
    if len(found) < FEWEST_BRANCHES:
        return
    growth = math.prod(one.factor for one in found)
    average = growth ** (1 / len(found))
    exponential = average > FASTEST and len(found) >= FASTEST_BRANCHES
    if growth > USUAL * math.sqrt(len(found)) or exponential:
        yield _describe(anatomy, found, growth, measured=examination.measurement is not None)


def _find_factor(
    anatomy: Anatomy, examination: Examination, branch: ResidualBranch
) -> float | None:
    end = _find_end(anatomy, branch)
    if end is None or end.normalized:
        return None
    if examination.measurement is not None:
        return _measure_factor(anatomy, examination.measurement, end)
    return _predict_factor(anatomy, branch, end)


def _find_end(anatomy: Anatomy, branch: ResidualBranch) -> BranchEnd | None:
    nodes = [node for name in branch.writers for node in anatomy.nodes.get(name, ())]
    return find_branch_end(anatomy.graph, nodes[0]) if anatomy.graph and nodes else None


def _measure_factor(anatomy: Anatomy, measurement: Measurement, end: BranchEnd) -> float | None:
    """The root mean square after the sum over that of the shortcut."""
    assert anatomy.graph is not None
    shortcuts = [one for one in anatomy.graph.nodes[end.sum].inputs if one != end.end]
    if len(shortcuts) != 1:
        return None
    before, after = (measurement.signals.get(one) for one in (shortcuts[0], end.sum))
    if before is None or after is None or not before.rms or not math.isfinite(after.rms):
        return None
    return after.rms / before.rms or None


def _predict_factor(anatomy: Anatomy, branch: ResidualBranch, end: BranchEnd) -> float | None:
    """√(1 + v), where v is what the layers of a branch, one after another, multiply the variance
    by.
    """
    variance = end.factor**2 if end.factor is not None else 0.0
    for layer in branch.layers:
        state = anatomy.by_layer.get(layer)
        if state is None:
            return None
        variance *= state.draw.std**2 * state.maps[0].fans.fan_in * _get_second(anatomy, layer)
    return math.sqrt(1 + variance) if math.isfinite(variance) else None


def _get_second(anatomy: Anatomy, layer: str) -> float:
    """E f(z)² of the activation that follows."""
    follower = anatomy.followers.get(layer)
    if follower is None or follower.activation is None or follower.through_add:
        return 1.0
    return KnownActivation(follower.activation).compute_moments(1.0).second


def _describe(
    anatomy: Anatomy, found: list[_BranchGrowth], growth: float, *, measured: bool
) -> Finding:
    states = [
        anatomy.by_layer[name]
        for one in found
        for name in one.branch.writers
        if name in anatomy.by_layer
    ]
    names = tuple(dict.fromkeys(state.name for state in states))
    factor = 1 / math.sqrt(len(found))
    severity: Severity = "error" if growth > RUINOUS else "warning"
    return Finding(
        code="F012",
        severity=severity,
        where=names[0] if names else "",
        also=names[1:],
        summary=(
            f"Without normalization, {len(found)} residual branches multiply the size of the "
            f"stream by {growth:.3g}{'' if measured else ' (predicted)'}; independent ones of "
            f"equal size would by {math.sqrt(len(found)):.2g}."
        ),
        remedy=(
            f"Multiply the last weight of each branch by 1/√{len(found)} = {factor:.3g}, or start "
            "it at zero (Fixup, SkipInit), or normalize the branches."
        ),
        evidence={
            "branches": len(found),
            "growth": growth,
            "growth_per_branch": growth ** (1 / len(found)),
            "expected_growth": math.sqrt(len(found)),
            "measured": measured,
        },
        patches=(Patch(operation="scale", parameters=names, value=factor),) if names else (),
    )
