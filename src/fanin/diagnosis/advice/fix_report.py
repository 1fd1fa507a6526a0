"""What `fix` did about each finding, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fanin.diagnosis.finding import Finding
from fanin.diagnosis.patch import Patch

Outcome = Literal["repaired", "eased", "left", "code", "note"]
"""repaired: the finding is gone. eased: it is milder, or at fewer places. left: what was tried did
not help, and was undone. code: no patch repairs it; the remedy says what to change. note: a
convention, which is not touched unless it is asked for."""

_WORDS: dict[Outcome, str] = {
    "repaired": "repaired",
    "eased": "eased",
    "left": "left out",
    "code": "change the code",
    "note": "as it was",
}
_WIDTH = 80


@dataclass(frozen=True, kw_only=True)
class FixedFinding:
    """What became of one finding of the first audit."""

    finding: Finding
    outcome: Outcome
    why: str
    """What the last audit says about it, or why nothing was kept."""
    patches: tuple[Patch, ...] = ()
    """What was kept because of it."""

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        return {
            "code": self.finding.code,
            "severity": self.finding.severity,
            "where": self.finding.where,
            "also": list(self.finding.also),
            "before": self.finding.summary,
            "outcome": self.outcome,
            "why": self.why,
            "patches": [patch.to_json() for patch in self.patches],
        }


@dataclass(frozen=True, kw_only=True)
class FixReport:
    """What was repaired, what was not and why, and the code to paste."""

    findings: tuple[FixedFinding, ...]
    """Those of the first audit, in its order."""
    new: tuple[Finding, ...]
    """Errors and warnings of the last audit that the first one could not or did not see."""
    patches: tuple[Patch, ...]
    """What was kept, in the order in which it was applied."""
    code: str
    """The same as code for a variable ``model``; empty if nothing was kept."""
    loss_before: float | None
    loss_after: float | None
    audits: int
    """How many audits it took, the first one not counted."""

    @property
    def repaired(self) -> tuple[FixedFinding, ...]:
        """The findings that are gone."""
        return tuple(one for one in self.findings if one.outcome == "repaired")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        return {
            "findings": [one.to_json() for one in self.findings],
            "new": [one.to_json() for one in self.new],
            "patches": [patch.to_json() for patch in self.patches],
            "code": self.code,
            "loss_before": self.loss_before,
            "loss_after": self.loss_after,
            "audits": self.audits,
        }

    def __str__(self) -> str:
        """The conclusion, a row per finding, and what is left to do, in at most 80 columns."""
        lines = [self._conclude()]
        shown = [one for one in self.findings if one.outcome != "note"]
        lines += ["", *map(_format_row, shown)] if shown else []
        for one in shown:
            if one.outcome in ("left", "code", "eased"):
                heading = f"{one.finding.code} {one.finding.where}".rstrip()
                lines += ["", *_wrap(f"{heading}: {one.why}")]
        for finding in self.new:
            lines += ["", *_wrap(f"New: {finding.code} {finding.where}: {finding.summary}")]
        return "\n".join(lines)

    def _conclude(self) -> str:
        counted = [one for one in self.findings if one.outcome != "note"]
        if not counted:
            return "Nothing to repair."
        text = f"{len(self.repaired)} of {len(counted)} findings repaired"
        eased = sum(one.outcome == "eased" for one in self.findings)
        text += f", {eased} eased" if eased else ""
        if self.loss_before is not None and self.loss_after is not None and self.patches:
            text += f"; initial loss {self.loss_before:.4g} → {self.loss_after:.4g}"
        return text + "."


def _format_row(one: FixedFinding) -> str:
    places = len(one.finding.also)
    where = (one.finding.where or "the model") + (f" and {places} more" if places else "")
    finding, outcome = one.finding, _WORDS[one.outcome]
    return f"  {finding.code}  {finding.severity:<8} {_shorten(where, 42):<42} {outcome}"


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[1 - width :]


def _wrap(text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
