"""Which patches of several findings are applied together, and which of these matter in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fanin.diagnosis.advice.patching import ParameterPlace
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.patch import Patch

Patched = tuple[Finding, tuple[Patch, ...]]


def choose_patches(
    findings: Sequence[Finding], places: Mapping[str, ParameterPlace]
) -> list[Patched]:
    """The patches of each finding, without the parameters that an earlier finding changes. Findings
    of which nothing is left are left out: their turn comes when the others' effect is known.
    """
    owned: list[tuple[int, tuple[int, int] | None]] = []
    chosen: list[Patched] = []
    for finding in findings:
        patches = []
        for patch in finding.patches:
            names = tuple(
                name
                for name in patch.parameters
                if name not in places or not _is_owned(places[name], patch.rows, owned)
            )
            patches += [replace(patch, parameters=names)] if names else []
        owned += [
            (places[name].identity, patch.rows)
            for patch in patches
            for name in patch.parameters
            if name in places
        ]
        chosen += [(finding, tuple(patches))] if patches else []
    return chosen


def _is_owned(
    place: ParameterPlace,
    rows: tuple[int, int] | None,
    owned: Sequence[tuple[int, tuple[int, int] | None]],
) -> bool:
    """Whether an earlier patch changes some of the same rows."""
    return any(
        identity == place.identity
        and (rows is None or other is None or (rows[0] < other[1] and other[0] < rows[1]))
        for identity, other in owned
    )


def drop_overwritten(
    patches: Sequence[Patch], places: Mapping[str, ParameterPlace]
) -> tuple[Patch, ...]:
    """The patches without those parameters that a later patch draws or sets anew as a whole."""
    written: set[int] = set()
    left: list[Patch] = []
    for patch in reversed(patches):
        names = tuple(name for name in patch.parameters if places[name].identity not in written)
        if names:
            left.append(replace(patch, parameters=names))
        if patch.rows is None and patch.operation in ("initialize", "set"):
            written |= {places[name].identity for name in patch.parameters}
    return tuple(reversed(left))
