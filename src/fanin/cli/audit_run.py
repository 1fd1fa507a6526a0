"""What ``fanin audit`` does: build the model, audit it, and put the answer into one form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from fanin import atomic
from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.cli.only_option import split_items
from fanin.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from fanin.cli.audit_input import AuditInput
    from fanin.cli.audit_target import BuiltModel
    from fanin.diagnosis import Audit
    from fanin.diagnosis.advice import Comparison
    from fanin.diagnosis.forecast import Forecast

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
    forecast: str | None
    """The optimizer."""
    steps: int
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
    found = audit(
        built.model,
        given.batch,
        target=given.target,
        ignore=request.ignore,
        level=cast(Any, request.level),
        seed=request.seed,
    )
    found = _drop_known(found, request)
    after = found.fix()[1] if request.fix else None
    ranking = found.compare(_list_initializers(request.compared)) if request.compared else None
    outlook = _forecast(found, request)
    return _to_output(request, built, Answer(found, after, ranking, outlook))


@dataclass(frozen=True)
class Answer:
    """What was found, and what else was asked for."""

    found: Audit
    after: Audit | None
    """The audit of a repaired copy."""
    ranking: Comparison | None
    outlook: Forecast | None


def _forecast(found: Audit, request: AuditRequest) -> Forecast | None:
    if request.forecast is None:
        return None
    return found.forecast(optimizer=request.forecast, steps=request.steps)


def _list_initializers(text: str | None) -> list[str]:
    """``he_normal,normal(mean=0,std=1)`` → both specs."""
    return [item.strip() for item in split_items(text or "") if item.strip()]


def _check(request: AuditRequest) -> None:
    from fanin.diagnosis.examination import Level
    from fanin.diagnosis.forecast.forecasting import check_steps, find_family
    from fanin.seeds import check_seed

    check_seed(request.seed, "--seed")
    check_steps(request.steps)
    if request.forecast is not None:
        find_family(request.forecast)
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

    initialize(built.model, request.init, seed=request.seed, batch=given.batch, target=given.target)


def _drop_known(found: Audit, request: AuditRequest) -> Audit:
    """The audit without what a baseline accepts."""
    from fanin.diagnosis.ignoring import drop_accepted, read_baseline, write_baseline

    findings = found.findings
    if request.baseline is not None and request.writes_baseline:
        path = write_baseline(request.baseline, findings)
        print_to_stderr(f"Accepted: {len(findings)} findings, in {path}")
        findings = ()
    elif request.baseline is not None:
        findings = drop_accepted(findings, read_baseline(request.baseline))
    return replace(found, findings=findings)


def _to_output(request: AuditRequest, built: BuiltModel, answer: Answer) -> CommandOutput:
    found, files = answer.found, {}
    if request.html is not None:
        page = atomic.write(request.html, found.to_html(), create_parent=True)
        files["page"] = str(page)
    record = found.to_json() | {"target": built.reference, "files": files}
    if answer.after is not None and answer.after.repair is not None:
        record["fix"] = make_record(answer.after.repair.to_json())
        record["fix"]["after"] = answer.after.to_json()
    if answer.ranking is not None:
        record["comparison"] = make_record(answer.ranking.to_json())
    if answer.outlook is not None:
        record["forecast"] = answer.outlook.to_json()
    forms: dict[str, Callable[[], None]] = {
        "text": lambda: _show(answer, files),
        "json": lambda: _print_json(record),
        "sarif": lambda: _print_json(found.to_sarif(built.shown_file, built.line)),
    }
    return CommandOutput(
        record,
        forms[request.form],
        _find_exit_code(found),
        has_effect=bool(files) or request.writes_baseline,
    )


def make_record(record: dict[str, Any]) -> dict[str, Any]:
    """The record with finite numbers only, as the audit's own."""
    from fanin.diagnosis.views.plain_records import make_finite

    finite: dict[str, Any] = make_finite(record)
    return finite


def _find_exit_code(found: Audit) -> int:
    if found.errors:
        return 1
    return 0 if found.measurement is not None else UsageError.exit_code


def _show(answer: Answer, files: dict[str, str]) -> None:
    from fanin.diagnosis.views.audit_text import list_lines
    from fanin.diagnosis.views.styled_lines import print_styled

    print_styled(list_lines(answer.found))
    if answer.after is not None:
        print_lines(["", *_describe_fix(answer.after)])
    if answer.ranking is not None:
        print_lines(["", "Compared, without training", *str(answer.ranking).splitlines()])
    if answer.outlook is not None:
        print_lines(["", "Forecast"])
        print_styled(answer.outlook.list_lines())
    if files:
        print_lines(["", *(f"Page: {path}" for path in files.values())])


def _describe_fix(after: Audit) -> list[str]:
    """What was repaired, and what the repaired copy is like; the code to paste."""
    from fanin.diagnosis.views.conclusion import conclude, count_findings
    from fanin.diagnosis.views.styled_lines import wrap_lines

    report = after.repair
    assert report is not None
    lines = ["Repaired copy", *str(report).splitlines()]
    if not report.patches:
        return lines
    again = f"Audited again: {conclude(after)} In all {count_findings(after.findings)}."
    lines += ["", *(line.text for line in wrap_lines(again))]
    return [
        *lines,
        "",
        "To paste, after the model is built:",
        "",
        *report.code.rstrip().split("\n"),
    ]


def _print_json(record: dict[str, Any]) -> None:
    print_lines(json.dumps(record, indent=2, allow_nan=False).splitlines())
