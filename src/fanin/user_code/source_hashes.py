"""The sources of the parts that a cell names, by which a stored result knows them again."""

from __future__ import annotations

from collections.abc import Iterable

from fanin import specs
from fanin.errors import UserCodeError
from fanin.user_code.callables import load


def has_reference(spec: object) -> bool:
    """Whether a spec, with or without options, names a target rather than an entry."""
    return isinstance(spec, str) and specs.is_reference(spec.partition("(")[0].strip())


def hash_sources(named: Iterable[object]) -> tuple[tuple[str, str], ...]:
    """(reference, SHA-256) of each target among the specs, each once, sorted; anything else is passed
    over.
    """
    found = {
        load(specs.parse(spec)[0])
        for spec in named
        if isinstance(spec, str) and has_reference(spec)
    }
    return tuple(sorted({(loaded.reference, loaded.sha256) for loaded in found}))


def require_unchanged(named: Iterable[tuple[str, str]]) -> None:
    """Raise `UserCodeError` where the source of a target is not the one of that SHA-256 any more."""
    for reference, sha256 in named:
        loaded = load(reference)
        if loaded.sha256 != sha256:
            raise UserCodeError(
                f"{loaded.file} has changed: expected SHA-256 {sha256[:12]}…, found "
                f"{loaded.sha256[:12]}…. Give the command "
                f"again, so that the new file is a part of the plan, or put the old one back."
            )
