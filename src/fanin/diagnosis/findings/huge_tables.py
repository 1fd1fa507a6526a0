"""F032 of embeddings so large that training hardly changes them, whatever follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import WeightState, get_anatomy
from fanin.diagnosis.findings.embeddings import GOOD_STD, find_embedding_scale
from fanin.diagnosis.patch import Patch

HUGE = 8.0
"""No table is drawn so large: torch's default, 1, is the largest that is usual."""


def find_huge_tables(examination: Examination) -> Iterator[Finding]:
    """One finding for all tables that are too large for any model, and are not named already."""
    told = {
        place
        for finding in find_embedding_scale(examination)
        if finding.severity != "note"
        for place in finding.places
    }
    huge = [
        state
        for state in get_anatomy(examination).weights
        if state.use.role == "embedding" and state.draw.std > HUGE and state.name not in told
    ]
    if huge:
        yield _describe_huge(huge)


def _describe_huge(tables: Sequence[WeightState]) -> Finding:
    worst = max(tables, key=lambda one: one.draw.std)
    names = tuple(dict.fromkeys([worst.name, *(one.name for one in tables)]))
    return Finding(
        code="F032",
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"The numbers of {worst.name} have a size of {worst.draw.std:.3g}: steps of the usual "
            "size hardly change its rows, and what they are added to or followed by is drowned."
        ),
        remedy="Draw embeddings with a standard deviation of 1/√width, or of 0.02.",
        evidence={"std": worst.draw.std, "usual_std": GOOD_STD},
        patches=tuple(
            Patch(
                operation="initialize",
                parameters=(one.name,),
                initializer=f"normal(std={one.use.parameter.shape[-1] ** -0.5:.3g})",
            )
            for one in tables
        ),
    )
