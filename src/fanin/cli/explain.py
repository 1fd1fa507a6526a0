"""``fanin explain``: what a finding of the audit means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fanin.cli.command_output import CommandOutput, print_lines
from fanin.cli.json_option import JsonOption

if TYPE_CHECKING:
    from fanin.diagnosis.codes import FindingKind


def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="Of a finding, such as F012.")
    ] = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Explain a finding of the audit: what it means, and what to do.

    Prints how the audit measures it, what usually causes it, and an example that has it. Without a
    code it lists all of them.

    \b
    Examples:
      fanin explain
      fanin explain F012

    \b
    Exit codes: 0 explained · 2 no such code
    """
    from fanin.diagnosis.codes import get_kind, list_kinds

    if code is None:
        kinds = list_kinds()
        return CommandOutput(
            {"findings": [_summarize(kind) for kind in kinds]},
            lambda: print_lines(_list_codes(kinds)),
        )
    kind = get_kind(code)
    return CommandOutput(kind.to_json(), lambda: _print_page(kind))


def _summarize(kind: FindingKind) -> dict[str, str]:
    return {"code": kind.code, "title": kind.title, "severity": kind.severity}


def _list_codes(kinds: tuple[FindingKind, ...]) -> list[str]:
    lines = [f"  {kind.code}  {kind.severity:<8} {kind.title}" for kind in kinds]
    return [*lines, "", "More about one: fanin explain CODE"]


def _print_page(kind: FindingKind) -> None:
    from fanin.diagnosis.views.explanation import list_explanation
    from fanin.diagnosis.views.styled_lines import print_styled

    print_styled(list_explanation(kind))
