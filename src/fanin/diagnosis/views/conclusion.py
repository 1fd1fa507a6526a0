"""The answer in one sentence, and the words for a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fanin.diagnosis.codes import get_kind
from fanin.diagnosis.finding import PLACES, SEVERITIES, Finding
from fanin.diagnosis.views.shown_audit import ShownAudit
from fanin.errors import UnknownName
from fanin.screen import escape_invisible


def conclude(audit: ShownAudit) -> str:
    """Whether the model starts well, in one sentence that names the worst finding."""
    model, found = escape_invisible(audit.model_name), audit.findings
    if found and found[0].severity == "error":
        return f"{model} does not start well: {name_finding(found[0])} ({found[0].code})."
    if audit.measurement is None:
        return f"{model} could not be run, so only its parameters were looked at."
    if found and found[0].severity == "warning":
        return f"{model} can start better: {name_finding(found[0])} ({found[0].code})."
    return f"{model} starts well."


def name_finding(finding: Finding) -> str:
    """A finding in a few words: its title, and where if that is a place."""
    where = escape_invisible(finding.where)
    return f"{find_title(finding.code)} in {where}" if where else find_title(finding.code)


def find_title(code: str) -> str:
    """The title of a code; the code itself if it is unknown."""
    try:
        return get_kind(code).title
    except UnknownName:
        return code


def describe_place(where: str) -> str:
    """A finding's place, for people."""
    if not where:
        return "the whole model"
    return f"the {where}" if where in PLACES else escape_invisible(where)


def count_findings(findings: Iterable[Finding]) -> str:
    """``2 errors, 1 note``; ``no findings`` if there are none."""
    counts = Counter(one.severity for one in findings)
    parts = [
        f"{counts[severity]} {severity}{'s' if counts[severity] > 1 else ''}"
        for severity in SEVERITIES
        if counts[severity]
    ]
    return ", ".join(parts) or "no findings"


def find_worst(findings: Iterable[Finding]) -> str:
    """The worst severity that there is; empty without findings."""
    found = {one.severity for one in findings}
    return next((severity for severity in SEVERITIES if severity in found), "")
