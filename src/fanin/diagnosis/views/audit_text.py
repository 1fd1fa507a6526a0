"""The audit for a terminal: the answer, the findings, the layers, what comes next."""

from __future__ import annotations

from collections.abc import Iterator

from fanin.diagnosis.finding import Finding
from fanin.diagnosis.measurement import LossState
from fanin.diagnosis.views.conclusion import conclude, count_findings, find_title, find_worst
from fanin.diagnosis.views.layer_rows import format_size
from fanin.diagnosis.views.layer_text import format_layers
from fanin.diagnosis.views.shown_audit import ShownAudit
from fanin.diagnosis.views.styled_lines import (
    WIDTH,
    StyledLine,
    fold_names,
    join_lines,
    make_line,
    wrap_lines,
)
from fanin.structure import ModelStructure
from fanin.structure.structure_text import count, format_stream

_MOST_FINDINGS = 20
"""Findings that are printed in full; notes come last, and the page and the JSON have all."""

_MOST_STREAM_LINES = 6


def format_audit(audit: ShownAudit) -> str:
    """The whole view as plain text of at most 80 columns."""
    return join_lines(list_lines(audit))


def list_lines(audit: ShownAudit) -> list[StyledLine]:
    """The whole view, line by line."""
    notes = _section("Not looked at", [line for note in audit.notes for line in _bullet(note)])
    lines = [*_answer(audit), *(notes if audit.measurement is None else [])]
    for finding in audit.findings[:_MOST_FINDINGS]:
        lines += [make_line(), *format_finding(finding)]
    if hidden := len(audit.findings) - _MOST_FINDINGS:
        lines += [make_line(), *wrap_lines(f"… and {hidden} more.")] if hidden > 0 else []
    lines += format_layers(audit)
    lines += _section("Measured thoroughly", [*_describe_thorough(audit)])
    lines += _section("Roles, as the graph shows them", [*_describe_structure(audit.structure)])
    lines += notes if audit.measurement is not None else []
    return [*lines, *_next_steps(audit)]


def _answer(audit: ShownAudit) -> Iterator[StyledLine]:
    style = find_worst(audit.findings) or ("good" if audit.measurement else "note")
    style = "good" if style == "note" and audit.measurement else style
    yield from wrap_lines(conclude(audit), style=style)
    yield from wrap_lines(" · ".join(_facts(audit)), style="quiet")


def _facts(audit: ShownAudit) -> Iterator[str]:
    yield count_findings(audit.findings)
    if audit.measurement is None:
        return
    yield count(len(audit.layers), "layer")
    yield count(audit.measurement.samples, "sample")
    yield describe_loss(audit.measurement.loss)


def describe_loss(loss: LossState) -> str:
    """The loss, and that of a prediction that knows nothing."""
    if loss.value is None:
        return "no target, so nothing is said of the loss"
    text = f"{loss.name} {format_size(loss.value)}"
    if loss.uninformed is not None:
        text += f" (knowing nothing: {format_size(loss.uninformed)})"
    return text


def format_finding(finding: Finding) -> list[StyledLine]:
    """One finding: what, where, how it shows, what to do."""
    head = f"{finding.severity} {finding.code}"
    places = fold_names(finding.places)
    lines = [make_line((head, finding.severity), "  ", (find_title(finding.code), "strong"))]
    lines += wrap_lines(places, indent="     ", first="  in ")
    lines += wrap_lines(finding.summary, indent="  ")
    lines += wrap_lines(finding.remedy, indent="    ", first="  → ")
    return lines


def _describe_thorough(audit: ShownAudit) -> Iterator[StyledLine]:
    """Jacobians and first steps, of the level full."""
    found = getattr(audit, "thorough", None)
    if found is None:
        return
    jacobian, steps, partial = found.jacobian, found.first_steps, found.partial_jacobians
    if jacobian is not None:
        text = f"Jacobian of the output by the input: singular values {jacobian.rms:.3g} in rms"
        if jacobian.largest is not None:
            text += f", {jacobian.largest:.3g} the largest"
        if jacobian.smallest is not None:
            text += f", {jacobian.smallest:.3g} the smallest"
        yield from _bullet(f"{text} (all 1: every direction is kept)")
    if partial:
        first = partial[0]
        yield from _bullet(
            f"Averaged partial Jacobian norm from {first.layer} to the output: {first.apjn:.3g} "
            f"± {first.error:.2g} (1: critical)"
        )
    if steps is not None:
        before, after = (sum(one) / len(one) for one in (steps.before, steps.after))
        yield from _bullet(
            f"Loss on this batch after {steps.steps} steps of Adam at {steps.learning_rate:g}: "
            f"{before:.3g} → {after:.3g} (mean of {len(steps.after)} seeds)"
        )


def _describe_structure(structure: ModelStructure | None) -> Iterator[StyledLine]:
    if structure is None:
        return
    shown = [line for stream in structure.streams for line in format_stream(stream)]
    for line in shown[:_MOST_STREAM_LINES]:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        yield from wrap_lines(line.strip(), indent=f"{indent}  ", first=indent)
    if len(shown) > _MOST_STREAM_LINES:
        yield make_line(f"  … {len(shown) - _MOST_STREAM_LINES} more lines")
    if roles := _count_roles(structure):
        yield from wrap_lines(roles, indent="  ")


def _count_roles(structure: ModelStructure) -> str:
    """How many layers have each role."""
    counts: dict[str, int] = {}
    for layer in structure.layers:
        words = " + ".join(role.replace("_", " ") for role in layer.roles)
        if words:
            counts[words] = counts.get(words, 0) + 1
    named = [f"{words} ({number}×)" if number > 1 else words for words, number in counts.items()]
    if ties := len(structure.ties):
        named.append(count(ties, "tied parameter"))
    return ", ".join(named)


def _bullet(text: str) -> list[StyledLine]:
    return wrap_lines(text, indent="    ", first="  - ")


def _section(title: str, lines: list[StyledLine]) -> list[StyledLine]:
    """Lines below a title; nothing if there are none."""
    return [make_line(), make_line((title, "strong")), *lines] if lines else []


def _next_steps(audit: ShownAudit) -> list[StyledLine]:
    if not audit.findings:
        return []
    steps = [("fanin explain " + audit.findings[0].code, "what it means, with an example")]
    if any(finding.patches for finding in audit.findings):
        steps.append(("--fix, or audit.fix()", "repair a copy and measure it again"))
    width = max(len(step) for step, _ in steps)
    assert width < WIDTH // 2
    return _section(
        "Next", [make_line(f"  {step:<{width}}   ", (what, "quiet")) for step, what in steps]
    )
