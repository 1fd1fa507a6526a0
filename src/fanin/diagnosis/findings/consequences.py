"""Which findings only say again what another one explains."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.diagnosis.finding import Finding

_CAUSES: dict[str, frozenset[str]] = {
    "F001": frozenset(["F002", "F003", "F010", "F023", "F037", "F042", "F043"]),
    "F041": frozenset(["F010", "F023", "F024", "F037", "F043"]),
    "F046": frozenset(["F023"]),
    "F047": frozenset(["F023", "F024", "F002", "F010"]),
    "F011": frozenset(["F010"]),
    "F040": frozenset(["F037"]),
}
"""By the code of a cause, the codes that follow from it."""

FAIR_GAIN = 3.0
"""A last layer that makes its input less than this times larger is not why its output is large."""
_GROWTH = ("F005", "F012")


def drop_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that are not explained by an error among the others."""
    causes = [one for one in findings if one.severity == "error" and one.code in _CAUSES]
    explained = frozenset[str]().union(*(_CAUSES[one.code] for one in causes))
    if any(one.code == "F002" and one.severity == "error" for one in findings):
        explained |= {"F023"}  # a layer that is off is why what is before it cannot learn
    has_grown = any(one.code in _GROWTH and one.severity != "note" for one in findings)
    return [
        one
        for one in findings
        if one.code not in explained and not (has_grown and _only_passes_on(one))
    ]


def _only_passes_on(finding: Finding) -> bool:
    """Whether a last layer is large because what it gets is: the growth is reported where it is."""
    gain = finding.evidence.get("gain")
    return finding.code == "F031" and isinstance(gain, float) and gain < FAIR_GAIN
