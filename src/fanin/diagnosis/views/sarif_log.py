"""An audit in SARIF 2.1.0, the format that code hosts show beside the code.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from fanin._version import __version__
from fanin.diagnosis.codes import FindingKind, list_kinds
from fanin.diagnosis.finding import PLACES, Finding
from fanin.diagnosis.views.plain_records import make_finite
from fanin.diagnosis.views.shown_audit import ShownAudit

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def to_sarif(audit: ShownAudit, *, file: str = "", line: int = 1) -> dict[str, Any]:
    """The audit as a SARIF log with one run.

    Args:
        audit: what was found.
        file: the file that builds the model, relative to the repository. Code hosts show a result
            only if it has a file.
        line: where in it the model is built.
    """
    kinds = list_kinds()
    indices = {kind.code: index for index, kind in enumerate(kinds)}
    place = _physical_location(file, line) if file else {}
    run = {
        "tool": {
            "driver": {
                "name": "fanin",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_describe_rule(kind) for kind in kinds],
            }
        },
        "results": [
            _describe_result(audit.model_name, finding, indices, place)
            for finding in audit.findings
        ],
        "invocations": [
            {
                "executionSuccessful": audit.measurement is not None,
                "toolExecutionNotifications": [
                    {"level": "note", "message": {"text": note}} for note in audit.notes
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
    }
    log: dict[str, Any] = make_finite({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})
    return log


def _describe_rule(kind: FindingKind) -> dict[str, Any]:
    title = f"{kind.title[:1].upper()}{kind.title[1:]}"
    return {
        "id": kind.code,
        "name": "".join(re.findall(r"\w+", kind.title.title().replace("'S", "s"))),
        "shortDescription": {"text": f"{title}."},
        "fullDescription": {"text": kind.meaning},
        "help": {"text": f"{kind.meaning}\n\n{kind.remedy}\n\nfanin explain {kind.code}"},
        "defaultConfiguration": {"level": kind.severity},
    }


def _describe_result(
    model: str, finding: Finding, indices: dict[str, int], place: dict[str, Any]
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": finding.severity,
        "message": {"text": f"{finding.summary} {finding.remedy}"},
        "locations": [
            {**place, "logicalLocations": [_logical_location(model, where)]}
            for where in finding.places
        ],
        "partialFingerprints": {"faninFinding/v1": _make_fingerprint(model, finding)},
        "properties": {"evidence": dict(finding.evidence), "patches": finding.to_json()["patches"]},
    }
    if finding.code in indices:
        result["ruleIndex"] = indices[finding.code]
    return result


def _logical_location(model: str, where: str) -> dict[str, str]:
    if not where:
        return {"name": model, "fullyQualifiedName": model, "kind": "type"}
    kind = "value" if where in PLACES else "member"
    name = where if where in PLACES else where.rpartition(".")[2]
    return {"name": name, "fullyQualifiedName": f"{model}.{where}", "kind": kind}


def _physical_location(file: str, line: int) -> dict[str, Any]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": file.replace("\\", "/")},
            "region": {"startLine": max(line, 1)},
        }
    }


def _make_fingerprint(model: str, finding: Finding) -> str:
    """The same as long as code and place are; numbers and further places do not change it."""
    text = "\0".join((model, finding.code, finding.where))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
