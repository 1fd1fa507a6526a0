"""All codes, and the way from a code to what it means."""

from __future__ import annotations

from fanin.diagnosis.codes import (
    fan_codes,
    gradient_codes,
    loss_codes,
    mean_codes,
    pass_codes,
    scale_codes,
    signal_codes,
    weight_codes,
)
from fanin.diagnosis.codes.finding_kind import FindingKind
from fanin.errors import UnknownName

_SUBJECTS = (
    signal_codes,
    gradient_codes,
    weight_codes,
    fan_codes,
    scale_codes,
    loss_codes,
    pass_codes,
    mean_codes,
)

_KINDS: dict[str, FindingKind] = {
    kind.code: kind
    for kind in sorted(
        (kind for subject in _SUBJECTS for kind in subject.KINDS), key=lambda kind: kind.code
    )
}


def list_kinds() -> tuple[FindingKind, ...]:
    """What every code means, in the order of the codes."""
    return tuple(_KINDS.values())


def get_kind(code: str) -> FindingKind:
    """What a code means; small letters are understood too.

    >>> get_kind("F012").title
    'the residual stream grows'

    Raises `UnknownName` with near codes.
    """
    found = _KINDS.get(code.upper()) if isinstance(code, str) else None
    if found is None:
        raise UnknownName.suggest("finding", code, _KINDS, hint="All codes: fanin list findings")
    return found
