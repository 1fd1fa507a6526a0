"""Hashes of the sources of a cell's user components, which are part of a result's identity."""

from __future__ import annotations

from collections.abc import Iterable

from fanin import specs
from fanin.errors import UserCodeError
from fanin.user_code.callables import load


def has_reference(spec: object) -> bool:
    """Whether a spec, with or without options, has a reference for a name."""
    return isinstance(spec, str) and specs.is_reference(spec.partition("(")[0].strip())


def hash_sources(values: Iterable[object]) -> tuple[tuple[str, str], ...]:
    """(reference, SHA-256) of each reference among the values' specs, each once, sorted.

    Anything else than a spec with a reference is ignored.
    """
    loaded = {
        load(specs.parse(value)[0])
        for value in values
        if isinstance(value, str) and has_reference(value)
    }
    return tuple(sorted({(source.reference, source.sha256) for source in loaded}))


def require_unchanged(hashes: Iterable[tuple[str, str]]) -> None:
    """Raise `UserCodeError` if the source of a reference no longer has the SHA-256 given here."""
    for reference, sha256 in hashes:
        loaded = load(reference)
        if loaded.sha256 != sha256:
            raise UserCodeError(
                f"{loaded.file} has changed: expected SHA-256 {sha256[:12]}…, found "
                f"{loaded.sha256[:12]}…. Give the command again to plan with the new file, or "
                "restore the old one."
            )
