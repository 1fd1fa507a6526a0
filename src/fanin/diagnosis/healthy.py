"""The audit as one line of a team's own tests: `assert_healthy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fanin.diagnosis.examination import Level
from fanin.diagnosis.finding import SEVERITIES, Finding, Severity
from fanin.diagnosis.ignoring import drop_accepted, read_baseline
from fanin.diagnosis.model_audit import Audit, audit
from fanin.diagnosis.views.audit_text import format_finding
from fanin.diagnosis.views.conclusion import conclude, count_findings
from fanin.diagnosis.views.styled_lines import join_lines
from fanin.errors import UnknownName
from fanin.structure.forward_tracing import Batch


class UnhealthyStart(AssertionError):
    """A model does not start well. The text has all findings; `findings` has them as records."""

    def __init__(self, text: str, findings: tuple[Finding, ...]) -> None:
        super().__init__(text)
        self.findings = findings


def assert_healthy(
    model: nn.Module,
    batch: Batch,
    *,
    target: Any = None,
    loss: Callable[..., Tensor] | None = None,
    expected: Mapping[str, Tensor] | None = None,
    ignore: Sequence[str] = (),
    baseline: str | Path | None = None,
    at_least: Severity = "error",
    level: Level = "fast",
    seed: int = 0,
) -> Audit:
    """Audit a model, and fail if it does not start well. For tests, and before a long training.

    Args:
        model: as for `fanin.audit`, and so are batch, target, loss, expected, level and seed.
        ignore: findings that are meant: ``["F036", "F012:head.*"]``.
        baseline: a file of accepted findings, which ``fanin audit --write-baseline`` writes.
        at_least: the mildest finding that fails: ``error``, ``warning`` or ``note``.

    Returns:
        The audit, if it does not fail.

    Raises:
        UnhealthyStart: an `AssertionError` whose text is what the audit found.
        UsageError: as for `fanin.audit`; a pattern that is none, or a file that is no baseline.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    if at_least not in SEVERITIES:
        raise UnknownName.suggest("severity", at_least, SEVERITIES)
    known = read_baseline(baseline) if baseline is not None else frozenset()
    found = audit(
        model,
        batch,
        target=target,
        loss=loss,
        expected=expected,
        ignore=ignore,
        level=level,
        seed=seed,
    )
    findings = drop_accepted(found.findings, known)
    counted = SEVERITIES[: SEVERITIES.index(at_least) + 1]
    failing = tuple(one for one in findings if one.severity in counted)
    if failing or found.measurement is None:
        raise UnhealthyStart(_explain(found, failing), failing)
    return found


def _explain(found: Audit, failing: tuple[Finding, ...]) -> str:
    """What pytest shows: the answer, each finding, and how to go on."""
    if not failing:
        return "\n".join([conclude(found), *found.notes])
    lines = [f"{found.model_name} does not start well: {count_findings(failing)}."]
    for finding in failing:
        lines += ["", join_lines(format_finding(finding))]
    code, where = failing[0].code, failing[0].where
    pattern = f"{code}:{where}" if where else code
    lines += [
        "",
        f"fanin explain {code} says what it means. If it is meant so: ignore=[{pattern!r}].",
    ]
    return "\n".join(lines)
