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


def drop_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that are not explained by an error among the others."""
    causes = [one for one in findings if one.severity == "error" and one.code in _CAUSES]
    explained = frozenset[str]().union(*(_CAUSES[one.code] for one in causes))
    if any(one.code == "F002" and one.severity == "error" for one in findings):
        explained |= {"F023"}  # a layer that is off is why what is before it cannot learn
    return [one for one in findings if one.code not in explained]
