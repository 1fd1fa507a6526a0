"""Embeddings and heads that are scaled by depth (F030), by a rule that took them for layers that
write to a residual stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, get_anatomy
from fanin.diagnosis.findings.misplaced_scaling import EXACT
from fanin.diagnosis.findings.residual_scaling import FEWEST_BRANCHES
from fanin.diagnosis.findings.role_scales import SizedLayer, average_log, list_sized_layers
from fanin.diagnosis.findings.weight_draws import ERRORS
from fanin.diagnosis.patch import Patch
from fanin.structure import ResidualStream


def find_scaled_tables(examination: Examination) -> Iterator[Finding]:
    """F030 of embeddings and heads."""
    if examination.structure is None:
        return
    anatomy = get_anatomy(examination)
    for stream in examination.structure.streams:
        if stream.depth >= FEWEST_BRANCHES:
            yield from _judge_stream(anatomy, stream, list_sized_layers(anatomy, stream))


def _judge_stream(
    anatomy: Anatomy, stream: ResidualStream, layers: Sequence[SizedLayer]
) -> Iterator[Finding]:
    """Embeddings and heads of exactly the standard deviation of layers that are scaled by depth."""
    writers = [one.map.draw.std for one in layers if one.writes and one.std > 0]
    readers = [one.map.draw.std for one in layers if not one.writes and one.std > 0]
    if not writers or not readers or max(writers) / min(writers) > 1 + 10 * EXACT:
        return
    std, usual = average_log(writers), average_log(readers)
    assert anatomy.structure is not None
    names = (
        *anatomy.structure.list_layers("embedding"),
        *anatomy.structure.list_layers("head"),
    )
    found = [
        state
        for name in dict.fromkeys(names)
        if (state := anatomy.by_layer.get(name)) is not None
        and state.draw.std > 0
        and abs(math.log(state.draw.std / std)) < ERRORS * state.draw.error + EXACT
    ]
    # Only if the other layers have one standard deviation too is it no rule of the fans.
    alike = max(readers) / min(readers) < 1 + 10 * EXACT
    if found and alike and std / usual < stream.depth**-0.25:
        yield _describe(stream, [state.name for state in found], std, usual)


def _describe(stream: ResidualStream, names: Sequence[str], std: float, usual: float) -> Finding:
    return Finding(
        code="F030",
        severity="warning",
        where=names[0],
        also=tuple(names[1:]),
        summary=(
            f"The standard deviation {std:.3g} is that of the layers that write to the stream of "
            f"{stream.depth} branches, scaled by depth; embeddings and heads are not to be scaled."
        ),
        remedy=f"Draw these as the other layers, with the standard deviation {usual:.3g}.",
        evidence={"std": std, "expected_std": usual, "branches": stream.depth},
        patches=(Patch(operation="scale", parameters=tuple(names), value=usual / std),),
    )
