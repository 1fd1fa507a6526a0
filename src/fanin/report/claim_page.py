"""The HTML page of a set of claims: the verdicts, and for each claim its criterion and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fanin.claims.claim_verdict import ClaimVerdict
from fanin.claims.verdict_words import describe_criterion, describe_effect
from fanin.report.escaping import escape_invisible
from fanin.report.page import fill_layout, make_environment
from fanin.report.sections.claim_figures import make_claim_figure, make_overview
from fanin.report.sections.result_rows import arrange_rows
from fanin.report.sections.study_part import FigureCounter, NumberedFigure
from fanin.report.tables.claim_table import make_claim_table


@dataclass(frozen=True)
class ShownContrast:
    """One contrast in words."""

    part: str
    label: str
    effect: str
    criterion: str
    verdict: str


@dataclass(frozen=True)
class ShownClaim:
    """One claim: what was said, what was asked for, and what came of it."""

    name: str
    facts: tuple[tuple[str, str], ...]
    """(heading, text) of the criterion."""
    statement: str
    verdict: str
    sentence: str
    instead: str
    contrasts: tuple[ShownContrast, ...]
    figures: list[NumberedFigure]


def render_claims(verdicts: Sequence[ClaimVerdict]) -> str:
    """The page's HTML.

    Args:
        verdicts: on the claims, in the order in which to show them.
    """
    counter, environment = FigureCounter(), make_environment()
    table = make_claim_table(verdicts)
    overview = counter.add(make_overview(verdicts))
    shown = [_show(verdict, counter) for verdict in verdicts]
    data = {"figures": {one.id: one.figure.to_json() for one in counter.found}, "cells": {}}
    return fill_layout(
        environment,
        "claims.html.j2",
        data,
        title=escape_invisible(table.title),
        answer=[escape_invisible(sentence) for sentence in table.answer],
        counts=Counter(verdict.verdict for verdict in verdicts).most_common(),
        by_verdict=_group_by_verdict(verdicts),
        table=table,
        rows=arrange_rows(table),
        overview=overview,
        claims=shown,
    )


def _group_by_verdict(verdicts: Sequence[ClaimVerdict]) -> list[tuple[str, list[str]]]:
    """The names of the claims by verdict, the most frequent verdict first; none of a rehearsal."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        if not verdict.is_rehearsal:
            found.setdefault(verdict.verdict, []).append(verdict.claim.name)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _show(verdict: ClaimVerdict, counter: FigureCounter) -> ShownClaim:
    claim = verdict.claim
    facts = (
        ("supported if", claim.supported_if),
        ("refuted if", claim.refuted_if),
        ("smallest effect of interest", claim.smallest_effect),
        ("read from", ", ".join((*claim.studies, *claim.observations))),
        ("seen before the criterion", ", ".join(claim.seen_before)),
        ("amended", claim.amendment),
        ("not covered", claim.caveat),
    )
    return ShownClaim(
        name=claim.name,
        facts=tuple((heading, escape_invisible(text)) for heading, text in facts if text),
        statement=escape_invisible(claim.statement),
        verdict=verdict.verdict,
        sentence=escape_invisible(verdict.sentence),
        instead=escape_invisible(verdict.instead),
        contrasts=tuple(
            ShownContrast(
                escape_invisible(part.part.title),
                escape_invisible(found.contrast.label),
                escape_invisible(describe_effect(found)),
                escape_invisible(describe_criterion(found)),
                found.verdict,
            )
            for part in verdict.parts
            for found in part.list_contrasts()
        ),
        figures=counter.add(make_claim_figure(verdict)),
    )
