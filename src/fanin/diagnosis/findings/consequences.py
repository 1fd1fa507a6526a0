"""Which findings only say again what another one explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fanin.diagnosis.finding import SEVERITIES, Finding

_CAUSES: dict[str, frozenset[str]] = {
    "F001": frozenset(["F002", "F003", "F010", "F023", "F037", "F042", "F043"]),
    "F002": frozenset(["F008", "F010", "F023"]),
    "F041": frozenset(["F010", "F011", "F023", "F024", "F037", "F043"]),
    "F046": frozenset(["F023"]),
    "F047": frozenset(["F023", "F024", "F002", "F010", "F011"]),
    "F011": frozenset(["F010", "F023", "F024", "F055"]),
    "F040": frozenset(["F037"]),
}
"""By the code of an error, the codes that follow from it. A layer that is off (F002) is why what is
before it cannot learn.
"""

_VIEWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("F010", ("F004", "F006")),
    ("F006", ("F004",)),
    ("F007", ("F009",)),
    ("F028", ("F025",)),
)
"""Several views of one plain path: a code, and those that say the same of it more plainly, the
plainest first. All of them are seen where each layer loses, or adds, its share; a signal that
vanishes takes gradients with it, and not the other way round.
"""
_SYMPTOMS = ("F004", "F006", "F010")
"""What an ordered phase (F008) does. If gains explain it (F028), or nothing that a patch changes,
the symptom is named, else the phase, which knows of biases too.
"""

FAIR_GAIN = 3.0
"""A last layer that makes its input less than this times larger is not why its output is large."""
_GROWTH = ("F005", "F012")


def drop_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that are not explained by another one. What explains takes over the severity
    and, if it has none, the patches of what is dropped.
    """
    causes = [one for one in findings if one.severity == "error" and one.code in _CAUSES]
    explained = frozenset[str]().union(*(_CAUSES[one.code] for one in causes))
    has_grown = any(one.code in _GROWTH and one.severity != "note" for one in findings)
    kept = _drop_twins(
        [
            one
            for one in findings
            if one.code not in explained and not (has_grown and _only_passes_on(one))
        ]
    )
    kept = _prefer_gains(kept)
    for code, plainer in (*_order_phase(kept), *_VIEWS):
        kept = _merge(kept, code, plainer)
    return kept


def _only_passes_on(finding: Finding) -> bool:
    """Whether a last layer is large because what it gets is: the growth is reported where it is."""
    gain = finding.evidence.get("gain")
    return finding.code == "F031" and isinstance(gain, float) and gain < FAIR_GAIN


def _order_phase(findings: Sequence[Finding]) -> list[tuple[str, tuple[str, ...]]]:
    """Whether the phase explains its symptoms, or is left to them and the gains."""
    found = {one.code: one for one in reversed(findings)}
    phase, gains = found.get("F008"), found.get("F028")
    if phase is None:
        return []
    if not phase.patches or (gains is not None and _share_path(gains, phase)):
        return [("F008", (*_SYMPTOMS, "F028"))]
    return [(code, ("F008",)) for code in _SYMPTOMS]


def _prefer_gains(findings: Sequence[Finding]) -> list[Finding]:
    """The phase with the patches of the gains that explain it. The critical gain only keeps small
    signals at their size; the activation's gain keeps those that a network starts from.
    """
    gains = next((one for one in findings if one.code == "F028" and one.patches), None)
    if gains is None:
        return list(findings)
    return [
        replace(one, patches=gains.patches)
        if one.code == "F008" and one.patches and _share_path(gains, one)
        else one
        for one in findings
    ]


def _drop_twins(findings: list[Finding]) -> list[Finding]:
    """Gradients that explode on a plain path explode on the longest path too: the first judge that
    says so has seen more.
    """
    first = next((one for one in findings if one.code == "F007"), None)
    return [one for one in findings if one.code != "F007" or one is first]


def _merge(findings: list[Finding], code: str, plainer: Sequence[str]) -> list[Finding]:
    dropped = next((one for one in findings if one.code == code), None)
    if dropped is None:
        return findings
    found = {one.code: one for one in reversed(findings)}
    leader = next(
        (found[name] for name in plainer if name in found and _share_path(found[name], dropped)),
        None,
    )
    if leader is None:
        return findings
    kept = replace(
        leader,
        severity=min(leader.severity, dropped.severity, key=SEVERITIES.index),
        evidence=_add_evidence(leader.evidence, dropped),
        patches=leader.patches or dropped.patches,
    )
    return [kept if one is leader else one for one in findings if one is not dropped]


def _share_path(one: Finding, other: Finding) -> bool:
    """Whether both are about the same layers. The judge of drift looks at one path only; those of
    phases, gains and fans name all layers, the worst first.
    """
    if other.code == "F028":
        return other.where in one.places
    codes = {one.code, other.code}
    if "F008" not in codes or "F010" in codes:  # which names the last layer, that may be a head
        return True
    layers = _list_layers(one), _list_layers(other)
    return not layers[0].isdisjoint(layers[1])


def _list_layers(finding: Finding) -> set[str]:
    return {place.removesuffix(".weight") for place in finding.places}


def _add_evidence(
    evidence: Mapping[str, float | int | str | bool | None], dropped: Finding
) -> dict[str, float | int | str | bool | None]:
    """The evidence of both, with the codes that are seen too."""
    codes = filter(None, [str(evidence.get("seen too", "")), dropped.code])
    return {**dropped.evidence, **evidence, "seen too": ", ".join(codes)}
