"""Which data are a user's own, and so have no published bytes to compare with."""

from __future__ import annotations

from collections.abc import Mapping

from fanin import specs
from fanin.errors import FaninError

BUILT_IN: Mapping[str, str] = {
    "adding": "",
    "autoencoding": "",
    "california-housing": "US dollars",
    "cifar10": "",
    "cifar100": "",
    "copying": "",
    "diabetes": "points of disease progression",
    "digits": "",
    "fashion-mnist": "",
    "image-fitting": "grey values, of −1 to 1",
    "mnist": "",
    "pixels": "",
    "rows": "",
    "tiny-shakespeare": "",
}
"""The data sets that come with fanin, and the units of their targets, as `fanin.data.REGISTRY` has
them. That imports torch, which takes longer than to make a report.
"""


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
    if isinstance(inner, str):
        return has_published_bytes(inner)
    return name in BUILT_IN or _is_registered(name)


def _is_registered(name: str) -> bool:
    """Whether a plug-in may have registered a data set of this name."""
    from fanin import data

    return name in data.REGISTRY
