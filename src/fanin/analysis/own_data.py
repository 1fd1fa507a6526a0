"""Which data are a user's own, and so have no published bytes to compare with."""

from __future__ import annotations

from fanin import data, specs
from fanin.errors import FaninError


def has_published_bytes(spec: str) -> bool:
    """Whether a data set, or the one that it reads differently, is registered with fanin.

    ``mnist`` and ``rows(of=mnist)`` are; a user copy under a name of its own and a user component
    are not.
    """
    try:
        name, options = specs.parse(spec)
    except FaninError:  # of a result that another version has stored
        return True
    inner = options.get("of")
    return has_published_bytes(inner) if isinstance(inner, str) else name in data.REGISTRY
