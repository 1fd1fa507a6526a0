"""Findings that are known and accepted: patterns to ignore, and a baseline file."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from fanin import atomic
from fanin.diagnosis.codes import get_kind
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.patch import Patch
from fanin.errors import UsageError, quote

SCHEMA = 1
"""Of the baseline file."""

_FORMS = 'CODE or CODE:PLACE, such as "F036" or "F012:head.*"'


@dataclass(frozen=True)
class IgnoredFinding:
    """One pattern: findings of a code at places whose names fit."""

    code: str
    place: str = "*"

    def fits(self, code: str, where: str) -> bool:
        """Whether a finding of this code at this place is ignored."""
        return self.code in ("*", code) and fnmatchcase(where, self.place)


def parse_ignored(texts: Iterable[str]) -> tuple[IgnoredFinding, ...]:
    """``F012:head.*`` → the pattern. Raises `UnknownName` for a code that is none."""
    if isinstance(texts, str):
        raise UsageError(f"ignore takes a list of {_FORMS}; received the text {quote(texts)}.")
    return tuple(map(_parse_one, texts))


def _parse_one(text: object) -> IgnoredFinding:
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"What is ignored is written {_FORMS}; received {quote(text)}.")
    code, colon, place = (part.strip() for part in text.partition(":"))
    if not code or (colon and not place):
        raise UsageError(f"What is ignored is written {_FORMS}; received {quote(text)}.")
    return IgnoredFinding("*" if code == "*" else get_kind(code).code, place if colon else "*")


def drop_ignored(findings: Iterable[Finding], ignore: Iterable[str]) -> tuple[Finding, ...]:
    """The findings without what is ignored. Of one with several places the others stay."""
    patterns = parse_ignored(ignore)
    return _drop(findings, lambda code, where: any(one.fits(code, where) for one in patterns))


def drop_accepted(
    findings: Iterable[Finding], accepted: Container[tuple[str, str]]
) -> tuple[Finding, ...]:
    """The findings without those of a baseline: pairs of code and place."""
    return _drop(findings, lambda code, where: (code, where) in accepted)


def _drop(
    findings: Iterable[Finding], is_dropped: Callable[[str, str], bool]
) -> tuple[Finding, ...]:
    kept = (
        _drop_places(one, {where for where in one.places if is_dropped(one.code, where)})
        for one in findings
    )
    return tuple(finding for finding in kept if finding is not None)


def _drop_places(finding: Finding, dropped: set[str]) -> Finding | None:
    """The finding at its other places; None if there are none."""
    kept = [where for where in finding.places if where not in dropped]
    if not dropped or not kept:
        return finding if kept else None
    patches = (_drop_parameters(patch, dropped) for patch in finding.patches)
    return replace(
        finding,
        where=kept[0],
        also=tuple(kept[1:]),
        patches=tuple(patch for patch in patches if patch.parameters),
    )


def _drop_parameters(patch: Patch, places: set[str]) -> Patch:
    """The patch without the parameters of some places, which are modules or parameters."""
    kept = tuple(
        name
        for name in patch.parameters
        if not any(name == place or (place and name.startswith(f"{place}.")) for place in places)
    )
    return replace(patch, parameters=kept)


def read_baseline(path: str | Path) -> frozenset[tuple[str, str]]:
    """The accepted findings of a baseline file: pairs of code and place.

    Raises `UsageError` if the file is none that `write_baseline` wrote.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"There is no baseline file {path}. Write it with: fanin audit … --baseline {path} "
            "--write-baseline"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"The baseline file {path} cannot be read: {error}.") from None
    try:
        schema = record["schema"]
        pairs = frozenset((str(one["code"]), str(one["where"])) for one in record["accepted"])
    except (KeyError, TypeError):
        raise UsageError(
            f'{path} is no baseline file. Expected {{"schema": {SCHEMA}, "accepted": [{{"code": '
            '"F012", "where": "head"}, …]}, as --write-baseline writes it.'
        ) from None
    if schema != SCHEMA:
        raise UsageError(
            f"The baseline file {path} has the schema {quote(schema)}, and this version of fanin "
            f"reads {SCHEMA}. Write it again with --write-baseline."
        )
    return pairs


def write_baseline(path: str | Path, findings: Iterable[Finding]) -> Path:
    """Accept these findings from now on; returns the file. Raises `OutputError`."""
    accepted = sorted({(finding.code, where) for finding in findings for where in finding.places})
    lines = [json.dumps({"code": code, "where": where}) for code, where in accepted]
    body = ",".join(f"\n    {line}" for line in lines)
    text = f'{{\n  "schema": {SCHEMA},\n  "accepted": [{body}\n  ]\n}}\n'
    return atomic.write(path, text, create_parent=True)
