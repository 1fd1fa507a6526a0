"""What a code means, for a terminal."""

from __future__ import annotations

from fanin.diagnosis.codes import FindingKind
from fanin.diagnosis.views.styled_lines import StyledLine, make_line, wrap_lines


def list_explanation(kind: FindingKind) -> list[StyledLine]:
    """Everything about a code, in lines of at most 80 columns."""
    article = "an" if kind.severity == "error" else "a"
    usually = f"usually {article} {kind.severity}"
    lines = [
        make_line((kind.code, kind.severity), " ", (kind.title, "strong"), f" ({usually})"),
        make_line(),
        *wrap_lines(kind.meaning),
        *_section("How the audit sees it", wrap_lines(kind.measured, indent="  ")),
    ]
    causes = [
        line for cause in kind.causes for line in wrap_lines(cause, indent="    ", first="  - ")
    ]
    lines += _section("Usual causes", causes)
    lines += _section("What to do", wrap_lines(kind.remedy, indent="  "))
    lines += _section(
        f"An example that has {kind.code}",
        [make_line(f"  {line}") for line in kind.example.splitlines()],
    )
    return [*lines, *_section("Reference", wrap_lines(kind.reference, indent="  "))]


def _section(title: str, lines: list[StyledLine]) -> list[StyledLine]:
    return [make_line(), make_line((title, "strong")), *lines]
