"""What ``fanin audit`` does: build the model, audit it, and put the answer into one form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from fanin import atomic
from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from fanin.cli.audit_input import AuditInput
    from fanin.cli.audit_target import BuiltModel
    from fanin.diagnosis import Audit

FORMATS = ("text", "json", "sarif")


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What the command line asks for."""

    reference: str
    inputs: tuple[str, ...]
    target: str | None
    init: str | None
    seed: int
    level: str
    compared: str | None
    fix: bool
    ignore: tuple[str, ...]
    baseline: Path | None
    writes_baseline: bool
    form: str
    html: Path | None
    as_json: bool


def answer(request: AuditRequest) -> CommandOutput:
    """Do what is asked for. Raises `UsageError`, and what building the model raises."""
    _check(request)
    from fanin.cli.audit_input import read_input
    from fanin.cli.audit_target import BuiltModel
    from fanin.diagnosis import audit
    from fanin.diagnosis.ignoring import parse_ignored

    parse_ignored(request.ignore)
    built = BuiltModel(request.reference, request.seed)
    given = read_input(
        request.inputs, request.target, seed=request.seed, keywords=built.list_keywords()
    )
    _initialize(request, built, given)
    level = cast(Any, request.level)
    run = partial(audit, batch=given.batch, target=given.target, level=level, seed=request.seed)
    found = _drop_known(run(built.model), request)
    return _to_output(request, built, found)


def _check(request: AuditRequest) -> None:
    from fanin.diagnosis.examination import Level
    from fanin.seeds import check_seed

    check_seed(request.seed, "--seed")
    if request.form not in FORMATS:
        raise UnknownName.suggest("format", request.form, FORMATS)
    if request.level not in get_args(Level):
        raise UnknownName.suggest("level", request.level, get_args(Level))
    if request.as_json and request.form == "sarif":
        raise UsageError("--json and --format sarif are two formats. Give one of them.")
    if request.writes_baseline and request.baseline is None:
        raise UsageError("--write-baseline needs the file: --baseline audit.json --write-baseline")


def _initialize(request: AuditRequest, built: BuiltModel, given: AuditInput) -> None:
    if request.init is None:
        return
    from fanin.apply import initialize

    initialize(built.model, request.init, seed=request.seed, batch=given.batch)


def _drop_known(found: Audit, request: AuditRequest) -> Audit:
    """The audit without what is ignored or accepted."""
    from fanin.diagnosis.ignoring import drop_accepted, drop_ignored, read_baseline, write_baseline

    findings = drop_ignored(found.findings, request.ignore)
    if request.baseline is not None and request.writes_baseline:
        path = write_baseline(request.baseline, findings)
        print_to_stderr(f"Accepted: {len(findings)} findings, in {path}")
        findings = ()
    elif request.baseline is not None:
        findings = drop_accepted(findings, read_baseline(request.baseline))
    return replace(found, findings=findings)


def _to_output(request: AuditRequest, built: BuiltModel, found: Audit) -> CommandOutput:
    from fanin.diagnosis.views.audit_page import render_page
    from fanin.diagnosis.views.plain_records import to_record
    from fanin.diagnosis.views.sarif_log import to_sarif

    files = {}
    if request.html is not None:
        files["page"] = str(atomic.write(request.html, render_page(found), create_parent=True))
    record = to_record(found) | {"target": built.reference, "files": files}
    forms: dict[str, Callable[[], None]] = {
        "text": lambda: _show(found, files),
        "json": lambda: _print_json(record),
        "sarif": lambda: _print_json(to_sarif(found, file=built.shown_file, line=built.line)),
    }
    return CommandOutput(
        record,
        forms[request.form],
        _find_exit_code(found),
        has_effect=bool(files) or request.writes_baseline,
    )


def _find_exit_code(found: Audit) -> int:
    if found.errors:
        return 1
    return 0 if found.measurement is not None else UsageError.exit_code


def _show(found: Audit, files: dict[str, str]) -> None:
    from fanin.diagnosis.views.audit_text import list_lines
    from fanin.diagnosis.views.styled_lines import print_styled

    print_styled(list_lines(found))
    if files:
        print_lines(["", *(f"Page: {path}" for path in files.values())])


def _print_json(record: dict[str, Any]) -> None:
    print_lines(json.dumps(record, indent=2, allow_nan=False).splitlines())
