"""A finding: one thing that is wrong with a model's start, where, how it shows, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fanin.diagnosis.patch import Patch

Severity = Literal["error", "warning", "note"]
"""error: parameters can never learn, or training ends clearly worse. warning: a defect that usually
costs something. note: a convention, or a choice that is worth knowing."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the worst."""

Evidence = float | int | str | bool | None

PLACES = ("input", "target", "output", "loss")
"""Places that are no module or parameter."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding of an audit."""

    code: str
    """Stable: F001, F002, …; `fanin explain CODE` says what it means."""
    severity: Severity
    where: str
    """The bare name of the module or parameter to change, or one of `PLACES`; empty for the whole
    model.
    """
    summary: str
    """One sentence, with the numbers that show it."""
    remedy: str
    """What to do, in one or two sentences."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """The measured numbers by name, and what was expected of them."""
    also: tuple[str, ...] = ()
    """Further places with the same defect; the first and worst is `where`."""
    patches: tuple[Patch, ...] = ()
    """The remedy as changes that a program can apply; empty if it is a change of code."""

    @property
    def places(self) -> tuple[str, ...]:
        """All places, `where` first."""
        return (self.where, *self.also)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "also": list(self.also),
            "summary": self.summary,
            "remedy": self.remedy,
            "evidence": dict(self.evidence),
            "patches": [patch.to_json() for patch in self.patches],
        }
